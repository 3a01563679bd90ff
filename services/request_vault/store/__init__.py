"""Where the log and its read model are kept: the port, its engines, and the bodies beside them.

    async with open_store(url, folder, ...) as store:      # raises VaultInUse, VaultDamaged, VaultVersion
        await store.record(events)

Called by the handlers and the worker. Engines: `sqlite:` (one process, one file). A second engine joins
by implementing `port.Store`, a branch in `open_store`, and its name in the conformance suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from bus.clock import Clock
from services.request_vault.store.errors import VaultUrlInvalid
from services.request_vault.store.port import Store

DATABASE = "vault.db"


@asynccontextmanager
async def open_store(
    url: str, folder: Path, clock: Clock, *, partitions: int, readers: int
) -> AsyncIterator[Store]:
    """The store that `url` names, ready. `folder` is where a `sqlite:` without a path keeps its file. Raises
    VaultUrlInvalid, and what the engine raises."""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme != "sqlite":
        raise VaultUrlInvalid(
            f"vault URL {url[:60]!r} is none that this version knows; it knows 'sqlite:' and 'sqlite:PATH'"
        )
    # Engines are imported when they are asked for, so that one engine's driver is not needed by the
    # other's users.
    from services.request_vault.store.sqlite.engine import open_sqlite

    path = Path(unquote(rest)) if rest else folder / DATABASE
    async with open_sqlite(path, clock, partitions=partitions, readers=readers) as store:
        yield store
