"""A TaskGroup around a body whose own error comes out as it is.

asyncio.TaskGroup puts every error into an ExceptionGroup, the body's too. Where the group is an inner matter
(a publisher's batches, a subscriber's workers), callers of `async with` expect the error that they raised.
Errors of the tasks themselves still come out as a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    own: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                yield tasks
            except Exception as error:
                own = error
                raise
    except BaseExceptionGroup as group:
        if own is None or group.exceptions != (own,):
            raise
    if own is not None:
        raise own  # outside the handler above, so that the group is not named as its context
