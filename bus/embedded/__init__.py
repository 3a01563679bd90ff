"""The embedded transport: all services in one process, on one SQLite journal, or in memory.

    async with open_embedded("shop.db", clock=SystemClock()) as transport: ...

From the outside in: `transport` (the port), `asking` and `signals` (in memory), `delays`, `broker` (routing),
`queue` and `consumer` (one subscription), `settling` (acknowledgements), `committer` (the journal's thread),
`journal` (its SQL), `recovery` and `format` (opening it), `lock` (one process at a time).
"""

from __future__ import annotations

from bus.embedded.transport import EmbeddedTransport, open_embedded

__all__ = ["EmbeddedTransport", "open_embedded"]
