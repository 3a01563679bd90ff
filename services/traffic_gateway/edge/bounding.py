"""The bound on a whole call. Called by `relaying`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.outgoing import UpstreamTimeout


@asynccontextmanager
async def within(total_s: float) -> AsyncIterator[None]:
    """Raises UpstreamTimeout when the block takes longer. 0: it may take for ever."""
    try:
        async with asyncio.timeout(total_s or None) as bound:
            yield
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise UpstreamTimeout(
            f"the call was not over after {total_s:g} s, which is all it may take"
        ) from error
