"""Which requests with an Idempotency-Key were made, for a day: a port and its engines, a memory and Redis.

It only tells a repeat from another request under the same key, and from one that still runs. That a repeat
does nothing twice, and answers the same, follows from its command's id, and needs none of this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from bus.clock import Clock
from services.chassis.redis import open_client, translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT_S = 24 * 3600
RUNNING_S = 60  # a process that died leaves its requests running no longer than this
MAX_KEPT = 100_000
PREFIX = "trunkline:repeat:"

Begun = Literal["first", "again", "running", "other"]


class Repeats(Protocol):
    """Each raises Unavailable when what it stands on does not answer."""

    async def begin(self, id: str, fingerprint: str) -> Begun:
        """`first`: from now on it is running. `again`: it has ended before. `running`: it runs elsewhere.
        `other`: the id belongs to a request with another fingerprint."""
        ...

    async def end(self, id: str, fingerprint: str) -> None:
        """It has ended."""
        ...

    async def forget(self, id: str) -> None:
        """It was refused: whoever corrects it may use the id again."""
        ...


class MemoryRepeats:
    """Of one process. Of more than MAX_KEPT the oldest are forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[str, bool, float]] = OrderedDict()

    async def begin(self, id: str, fingerprint: str) -> Begun:
        known = self._kept.get(id)
        if known is not None and known[2] > self._clock.monotonic():
            return _begun(known[0], known[1], fingerprint)
        self._put(id, fingerprint, running=True)
        return "first"

    async def end(self, id: str, fingerprint: str) -> None:
        self._put(id, fingerprint, running=False)

    async def forget(self, id: str) -> None:
        self._kept.pop(id, None)

    def _put(self, id: str, fingerprint: str, *, running: bool) -> None:
        until_s = self._clock.monotonic() + (RUNNING_S if running else KEPT_S)
        self._kept[id] = (fingerprint, running, until_s)
        self._kept.move_to_end(id)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


class RedisRepeats:
    """A key for each, `r` or `e` (running, ended) and the fingerprint; it expires by itself."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def begin(self, id: str, fingerprint: str) -> Begun:
        with translated():
            set_now = await self._client.set(PREFIX + id, f"r{fingerprint}", nx=True, ex=RUNNING_S)
            if set_now:
                return "first"
            held = await self._client.get(PREFIX + id)
            if held is None:  # expired between the two
                await self._client.set(PREFIX + id, f"r{fingerprint}", ex=RUNNING_S)
                return "first"
        text = held.decode() if isinstance(held, bytes) else held
        return _begun(text[1:], text[:1] == "r", fingerprint)

    async def end(self, id: str, fingerprint: str) -> None:
        with translated():
            await self._client.set(PREFIX + id, f"e{fingerprint}", ex=KEPT_S)

    async def forget(self, id: str) -> None:
        with translated():
            await self._client.delete(PREFIX + id)


@asynccontextmanager
async def open_repeats(url: str, clock: Clock) -> AsyncIterator[Repeats]:
    """`url`: the setting `redis_url`. A Redis that is down is met at the first use. Raises
    RedisUrlInvalid."""
    if url == "memory:":
        yield MemoryRepeats(clock)
        return
    async with open_client(url) as client:
        yield RedisRepeats(client)


def _begun(known: str, running: bool, fingerprint: str) -> Begun:
    if known != fingerprint:
        return "other"
    return "running" if running else "again"
