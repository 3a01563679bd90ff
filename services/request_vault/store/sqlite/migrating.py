"""A vault of an older format becomes one of today's when it is opened, before anything else is done with it.

The new file is written beside the old one, proved to hold the same log, and put in its place; the old one
stays as `vault.db.v1` for whoever wants to go back, until somebody removes it. Whatever happens on the way,
`vault.db` is the one or the other, whole. What a crash has left is begun anew.

From format 1: the same records at the same positions, now with salted digests and the chain; the read models
and the usage follow from them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import structlog

from services.request_vault.domain import chain
from services.request_vault.domain.comparing import LinksDiffer
from services.request_vault.domain.links import Kept, Link, checksum_of, digest_of
from services.request_vault.store.errors import VaultDamaged, VaultSpace
from services.request_vault.store.sqlite import archiving, schema
from services.request_vault.store.sqlite.copying import sync
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.places import PARTITION_SHIFT, position_of

BATCH = 1000
TELL_EVERY = 50_000
ROOM = 1.3
"""Of the old file's size, what the new one may need: it holds salts and digests, and more indices."""

_RECORDS = """
SELECT place, stream, version, category, prev, key, time_us, recorded_us, checksum, event
FROM record WHERE place > ? AND place < ? ORDER BY place LIMIT ?
"""

_log = structlog.get_logger("request_vault")


def migrate(path: Path) -> None:
    """Do nothing unless the file is of an older format. The caller holds the vault's lock. Raises VaultSpace
    or VaultDamaged, and then the file is as it was."""
    if schema.format_of(path) != 1:
        return
    size_bytes = schema.size_bytes(path)
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < size_bytes * ROOM:
        raise VaultSpace(
            f"the vault {path} is to be rewritten in format {schema.FORMAT}; that takes up to "
            f"{size_bytes * ROOM / 1e6:.0f} MB beside it, and {free_bytes / 1e6:.0f} MB are free"
        )
    new = path.with_name(path.name + ".migrating")
    _remove(new)
    _log.info(
        "the vault is brought to today's format", vault=str(path), format=schema.FORMAT, bytes=size_bytes
    )
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _rewrite(old, new)
    except (LinksDiffer, sqlite3.DatabaseError) as error:
        _remove(new)
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise VaultDamaged(f"the vault {path} cannot be brought to today's format: {error}") from error
    sync(new)
    kept = _keep(path)
    # SQLite would take what stands in another file's write-ahead log for this one's.
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    new.replace(path)
    sync(path.parent)
    _log.info("the vault has today's format; the old file can be removed", vault=str(path), old=str(kept))


def _rewrite(old: sqlite3.Connection, new: Path) -> None:
    heads = dict(old.execute("SELECT partition, number FROM head").fetchall())
    of = sum(heads.values())
    connection = schema.open_writer(new, len(heads) - 1)
    with closing(connection):
        connection.execute("PRAGMA synchronous=OFF")  # it counts for nothing before it is whole and synced
        ledger = Ledger.load(connection)
        done = 0
        for batch in _batches(old, heads):
            before = ledger.copy()
            connection.execute("BEGIN IMMEDIATE")
            archiving.load(connection, ledger, batch)
            ledger.store_changes(connection, before)
            connection.execute("COMMIT")
            if done // TELL_EVERY != (done + len(batch)) // TELL_EVERY:
                _log.info("the vault is being rewritten", records=done + len(batch), of=of)
            done += len(batch)
        before = ledger.copy()
        (ledger.published_to,) = old.execute(
            "SELECT number FROM checkpoint WHERE name = 'published'"
        ).fetchone()
        connection.execute("BEGIN IMMEDIATE")
        ledger.store_changes(connection, before)
        connection.execute("COMMIT")
        _compare(old, connection, ledger, heads)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _batches(old: sqlite3.Connection, heads: dict[int, int]) -> Iterator[list[Link]]:
    for partition in heads:
        after, end = partition << PARTITION_SHIFT, partition + 1 << PARTITION_SHIFT
        while rows := old.execute(_RECORDS, (after, end, BATCH)).fetchall():
            yield [_link(*row) for row in rows]
            after = rows[-1][0]


def _link(
    place: int,
    stream: str,
    version: int,
    category: str | None,
    prev: int | None,
    key: str,
    time_us: int,
    recorded_us: int,
    checksum: int,
    event: bytes,
) -> Kept:
    bare = Kept(
        *position_of(place), stream, version, category, prev, key, time_us, recorded_us, checksum,
        os.urandom(chain.SALT_BYTES), b"", event,
    )  # fmt: skip
    if checksum_of(bare) != checksum:
        raise LinksDiffer(f"the record at {position_of(place)} does not match its checksum")
    return msgspec.structs.replace(bare, digest=digest_of(bare))


def _compare(old: sqlite3.Connection, new: sqlite3.Connection, ledger: Ledger, heads: dict[int, int]) -> None:
    """The new file holds what the old one does."""
    if ledger.numbers != [heads[partition] for partition in sorted(heads)]:
        raise LinksDiffer(f"the log would end at {ledger.numbers}, not at {heads}")
    for source, target in (("record", "record"), ("seen", "seen"), ("call", ledger.generations.call)):
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for connection, table in ((old, source), (new, target))
        ]
        if counts[0] != counts[1]:
            raise LinksDiffer(f"{counts[1]} rows of {source} would be there, not {counts[0]}")


def _keep(path: Path) -> Path:
    """Another name for the old file, which it has beside its own until that is taken."""
    for attempt in range(100):
        kept = path.with_name(f"{path.name}.v1" + (f".{attempt}" if attempt else ""))
        if not kept.exists():
            try:
                os.link(path, kept)
            except OSError:  # a file system without links
                shutil.copy2(path, kept)
                sync(kept)
            return kept
        if kept.samefile(path):
            return kept
    raise VaultDamaged(f"too many files named {path.name}.v1 are beside the vault {path}")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
