"""What the gateway decides, without I/O: which headers pass (`headers`), how a response is framed for a
client (`framing`), and what is kept of a call (`capture`) and its bodies (`bodies`)."""

from __future__ import annotations
