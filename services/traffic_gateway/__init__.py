"""The traffic gateway: relays API calls untouched to where their address says, and captures each of them.

An edge: clients outside the system call it instead of the API. It streams requests and responses both ways
and publishes `traffic.call.captured`. Keeps nothing but a spool on disk for captures that the bus cannot take
yet, and a projection of identity's buckets.
"""

from __future__ import annotations
