"""The gateway's face to clients: `serving` is the HTTP server, `relaying` takes each request to its target
and back, `answering` writes to the client, `recording` hands captures over, `bin` answers where there is no
target, `problems` says what went wrong."""

from __future__ import annotations
