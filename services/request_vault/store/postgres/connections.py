"""Connections to the server that a vault's URL names.

What every session of a vault has: texts in UTF-8, its schema alone in the search path, commits that wait
for the disk, and plans that walk an index. The planner's guesses about a table that grows from nothing turn
bad with time, and every statement of this engine has an index which gives its rows in order: so sequential
scans and sorts are for want of anything else only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

from bus.errors import BusError, Unavailable
from services.request_vault.store.errors import VaultUrlInvalid
from services.request_vault.store.postgres.failures import cannot_open, translated, unavailable

CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 2.0
STALLED_S = 3
"""A session of a vault that waits for its client for so long, while others wait for its locks, is ended."""

Connection: TypeAlias = "asyncpg.Connection[Any]"

_SETTINGS = {
    "client_encoding": "UTF8",
    "timezone": "UTC",
    "synchronous_commit": "on",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "30",
}


class Address:
    """Where a vault is kept. `str()` of it names the place without the password. schema: None for the
    server's own choice, until `in_schema` has made it."""

    def __init__(self, url: str, shown: str, schema: str | None) -> None:
        self.url = url
        self.shown = shown
        self.schema = schema

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises VaultUrlInvalid, which shows no password."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise VaultUrlInvalid(
                "the vault's URL cannot be read as postgresql://USER:PASSWORD@HOST:PORT/DATABASE: "
                "characters such as / @ : # ? in a user or password are written as %XX"
            ) from error
        if parts.fragment or (parts.netloc.count("@") > 1):
            raise VaultUrlInvalid(
                "the vault's URL has a # or a second @: in a user or password they are written as %23 and %40"
            )
        schema = query.pop("search_path", None)
        if schema is not None and (not schema or "," in schema or "\x00" in schema or len(schema) > 63):
            raise VaultUrlInvalid(
                f"search_path {schema[:70]!r} in the vault's URL is not the name of one schema"
            )
        database = unquote(parts.path.lstrip("/"))
        user = f"{quote(unquote(parts.username))}@" if parts.username else ""
        where = (host or "localhost") + (f":{port}" if port else "")
        shown = f"postgresql://{user}{where}/{quote(database)}"
        if schema is not None:
            shown += f"?search_path={quote(schema)}"
        rest = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))
        return cls(rest, shown, schema)

    def __str__(self) -> str:
        return self.shown

    def in_schema(self, schema: str) -> Address:
        return Address(self.url, self.shown, schema)

    def number_of(self, purpose: str) -> int:
        """What an advisory lock of this vault is named by."""
        digest = hashlib.sha256(f"trunkline\x1f{purpose}\x1f{self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    @property
    def channel(self) -> str:
        """Where instances tell each other of decisions."""
        return f"trunkline_{self.number_of('decided') & (1 << 63) - 1:x}"

    def session_name(self, purpose: str) -> str:
        """What the server's list of sessions says."""
        return f"trunkline vault {self.number_of('sessions') & 0xFFFFFFFF:x} {purpose}"


async def connect(address: Address, purpose: str, *, opening: bool = False, **settings: str) -> Connection:
    """A new session. Raises Unavailable; while `opening`, also what trying again does not mend."""
    named = {"search_path": quoted(address.schema)} if address.schema is not None else {}
    try:
        return await asyncpg.connect(
            address.url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            server_settings={
                **_SETTINGS, **named, "application_name": address.session_name(purpose), **settings
            },
        )  # fmt: skip
    except Exception as error:
        told = (cannot_open if opening else unavailable)(error, str(address))
        raise told or error from error


async def close(connection: Connection) -> None:
    """End a session, politely if it still listens."""
    if connection.is_closed():
        return
    try:
        await connection.close(timeout=CLOSE_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


class Sessions:
    """Sessions for reading and for small writes, made when they are needed; a lost one is replaced."""

    def __init__(self, address: Address, most: int) -> None:
        self.address = address
        self._free: list[Connection] = []
        self._places = asyncio.Semaphore(most)
        self._closed = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """One session, alone. Raises Unavailable for whatever is the server's condition."""
        async with self._places:
            if self._closed:
                raise Unavailable("the vault is closed")
            connection = await self._take()
            reusable = False
            try:
                with translated(str(self.address)):
                    yield connection
                reusable = True
            except BusError as error:
                reusable = not isinstance(error, Unavailable)
                raise
            finally:
                # A caller that was cancelled leaves a statement behind, which nobody should wait for.
                if not reusable or self._closed or connection.is_in_transaction():
                    connection.terminate()
                elif not connection.is_closed():
                    self._free.append(connection)

    @asynccontextmanager
    async def one_moment(self) -> AsyncIterator[Connection]:
        """As `use`; all statements see the log as of one moment, and none writes."""
        async with (
            self.use() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back."""
        self._closed = True
        while self._free:
            await close(self._free.pop())

    async def _take(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return await connect(self.address, "reader")


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'
