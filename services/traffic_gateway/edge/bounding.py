"""The bound on a whole call. Called by `relaying`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from services.chassis.outgoing import UpstreamTimeout

_FOR_EVER: AbstractAsyncContextManager[None] = nullcontext()


def within(total_s: float) -> AbstractAsyncContextManager[None]:
    """Raises UpstreamTimeout when the block takes longer. 0: it may take for ever."""
    return _bounded(total_s) if total_s else _FOR_EVER


@asynccontextmanager
async def _bounded(total_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(total_s) as bound:
            yield
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise UpstreamTimeout(
            f"the call was not over after {total_s:g} s, which is all it may take"
        ) from error
