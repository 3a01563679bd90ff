"""Where the log and its read model are kept: the port, its engines, and the bodies beside them.

    async with open_store(url, folder, ...) as store:      # raises VaultInUse, VaultDamaged, VaultVersion
        await store.record(events)
    async with open_archive(url, folder) as archive:       # to be proved or copied, while a vault runs or not

Called by the handlers and the worker. Engines: `sqlite:` (one process, one file) and `postgresql:` (any
number of instances). Another joins by implementing `port.Store`, a branch in `open_store`, and its name in
the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from bus.clock import Clock
from services.request_vault.store.errors import VaultUrlInvalid
from services.request_vault.store.port import Archive, Store

DATABASE = "vault.db"


@asynccontextmanager
async def open_store(
    url: str, folder: Path, clock: Clock, *, partitions: int, readers: int
) -> AsyncIterator[Store]:
    """The store that `url` names, ready. `folder` is where a `sqlite:` without a path keeps its file. Raises
    VaultUrlInvalid, and what the engine raises."""
    scheme, colon, rest = url.partition(":")
    # Engines are imported when they are asked for, so that one engine's driver is not needed by the
    # other's users.
    if scheme in ("postgresql", "postgres"):
        from services.request_vault.store.postgres.engine import open_postgres

        async with open_postgres(url, clock, partitions=partitions, readers=readers) as shared:
            yield shared
    elif scheme == "sqlite" and colon:
        from services.request_vault.store.sqlite.engine import open_sqlite

        async with open_sqlite(_file(rest, folder), clock, partitions=partitions, readers=readers) as store:
            yield store
    else:
        raise _unknown(scheme)


@asynccontextmanager
async def open_archive(url: str, folder: Path) -> AsyncIterator[Archive]:
    """The log that `url` names, for reading only, also while a vault has it: nothing is locked, nothing is
    written. Raises VaultUrlInvalid, FileNotFoundError, and what the engine raises."""
    scheme, colon, rest = url.partition(":")
    if scheme in ("postgresql", "postgres"):
        from services.request_vault.store.postgres.archive import open_archive as open_postgres_archive

        async with open_postgres_archive(url) as shared:
            yield shared
    elif scheme == "sqlite" and colon:
        from services.request_vault.store.sqlite.archive import open_archive as open_sqlite_archive

        async with open_sqlite_archive(_file(rest, folder)) as archive:
            yield archive
    else:
        raise _unknown(scheme)


def _file(path: str, folder: Path) -> Path:
    return Path(unquote(path)) if path else folder / DATABASE


def _unknown(scheme: str) -> VaultUrlInvalid:
    # What stands behind the scheme may hold a password.
    return VaultUrlInvalid(
        f"vault URL {scheme[:60]!r}... is none that this version knows; it knows 'sqlite:', 'sqlite:PATH' "
        "and 'postgresql://USER:PASSWORD@HOST/DATABASE'"
    )
