"""What instances of a service share and may lose: on Redis, or nothing shared with `memory:`.

The dedupe inbox of subscriptions whose effects cannot simply be repeated, `Router(..., inbox=...)`, is here;
`limits` keeps its counts there too. Opened from the setting `redis_url`: `memory:` or `redis://`,
`rediss://`. Connecting waits for the first use, so that a Redis that is down stops only what needs it, which
then pauses (Unavailable) and goes on by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from bus.errors import CannotOpen, Unavailable
from bus.middleware.dedupe import Identity, Inbox

if TYPE_CHECKING:
    from redis.asyncio import Redis

REMEMBERED = timedelta(days=7)
TIMEOUT_S = 2.0
CONNECTIONS = 32


class RedisUrlInvalid(CannotOpen):
    slug = "redis-url-invalid"
    meaning = "The setting redis_url is no address of a Redis."
    remedy = "Write memory:, redis://host:port/0 or rediss://..., in TRUNKLINE_REDIS_URL or trunkline.toml."


class RedisInbox:
    """A key for each handled identity, which expires after REMEMBERED. Raises Unavailable when Redis does not
    answer."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def holds(self, subscription: str, identity: Identity) -> bool:
        with translated():
            return bool(await self._client.exists(_key(subscription, identity)))

    async def add(self, subscription: str, identity: Identity) -> None:
        with translated():
            await self._client.set(_key(subscription, identity), b"", ex=REMEMBERED)


@asynccontextmanager
async def open_inbox(url: str) -> AsyncIterator[Inbox | None]:
    """The inbox that `url` means; None for `memory:`, which is what a router without an inbox uses. Raises
    RedisUrlInvalid."""
    if url == "memory:":
        yield None
        return
    async with open_client(url) as client:
        yield RedisInbox(client)


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[Redis]:
    """A client that connects when it is used; more than CONNECTIONS commands at once wait for each other.
    Raises RedisUrlInvalid."""
    # The driver is loaded by those who use it only: it would be a tenth of a second of every start.
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError as error:
        raise RedisUrlInvalid(f"redis_url is no address of a Redis: {error}") from error
    client = Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def translated() -> Iterator[None]:
    """The driver's errors as Unavailable."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"redis: {error}") from error


def _key(subscription: str, identity: Identity) -> str:
    source, id = identity
    return f"trunkline:inbox:{subscription}:{len(source)}:{source}:{id}"
