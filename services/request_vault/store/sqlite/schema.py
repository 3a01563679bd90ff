"""The file: its tables, how it is created, what is checked before it is opened, and the lock that keeps
others out.

A record's place is `partition << 48 | number`, so that one integer key orders each partition and the tree
grows at one end per partition. `seen` holds identities apart from records, so that they outlive them by a
while; of one that is gone it says when its event was. What stands for records that are gone: `tombstone` for
one that was erased, `anchor` for a run of trimmed ones within a segment of the chain (its digests are dropped
once the run is the whole segment). Everything but the read models (`models`) is the log, which is never
rebuilt. Texts are compared by bytes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.request_vault.domain import chain
from services.request_vault.domain.links import checksum_of_mark
from services.request_vault.store.errors import VaultDamaged, VaultInUse, VaultVersion
from services.request_vault.store.sqlite import models

FORMAT = 2
APPLICATION_ID = 0x54524B56  # "TRKV"
PAGE_SIZE_BYTES = 8192
CHECKPOINTS = ("published", "floor")

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"

_TABLES = """
CREATE TABLE head (
    partition INTEGER PRIMARY KEY,
    number    INTEGER NOT NULL,
    running   BLOB NOT NULL,
    chain     BLOB NOT NULL
);
CREATE TABLE checkpoint (
    name     TEXT PRIMARY KEY,
    number   INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE record (
    place       INTEGER PRIMARY KEY,
    stream      TEXT NOT NULL,
    version     INTEGER NOT NULL,
    category    TEXT,
    prev        INTEGER,
    key         TEXT NOT NULL,
    time_us     INTEGER NOT NULL,
    recorded_us INTEGER NOT NULL,
    checksum    INTEGER NOT NULL,
    salt        BLOB NOT NULL,
    digest      BLOB NOT NULL,
    event       BLOB NOT NULL
);
CREATE UNIQUE INDEX record_stream ON record (stream, version);
CREATE INDEX record_category ON record (category, place) WHERE category IS NOT NULL;
CREATE TABLE seen (
    id       TEXT NOT NULL,
    source   TEXT NOT NULL,
    place    INTEGER NOT NULL,
    content  BLOB NOT NULL,
    gone_us  INTEGER,
    time_us  INTEGER,
    checksum INTEGER,
    PRIMARY KEY (id, source)
) WITHOUT ROWID;
CREATE INDEX seen_gone ON seen (gone_us) WHERE gone_us IS NOT NULL;
CREATE INDEX seen_gone_place ON seen (place) WHERE gone_us IS NOT NULL;
CREATE TABLE seal (
    place   INTEGER PRIMARY KEY,
    running BLOB NOT NULL,
    chain   BLOB NOT NULL
);
CREATE TABLE anchor (
    place    INTEGER PRIMARY KEY,
    last     INTEGER NOT NULL,
    digests  BLOB NOT NULL,
    gone_us  INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE tombstone (
    place    INTEGER PRIMARY KEY,
    stream   TEXT NOT NULL,
    version  INTEGER NOT NULL,
    category TEXT,
    prev     INTEGER,
    digest   BLOB NOT NULL,
    gone_us  INTEGER NOT NULL,
    by       TEXT NOT NULL,
    why      TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX tombstone_stream ON tombstone (stream, version);
CREATE INDEX tombstone_category ON tombstone (category, place) WHERE category IS NOT NULL;
CREATE TABLE usage (
    key     TEXT PRIMARY KEY,
    records INTEGER NOT NULL,
    calls   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE model (
    name       TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    generation INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE build (
    name       TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    tops       TEXT NOT NULL,
    done       TEXT NOT NULL,
    decided    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE type (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
);
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out while inside. The lock is the system's, so it ends with its process.
    Raises VaultInUse."""
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise VaultInUse(f"the vault {path} is in use by {who}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def open_writer(path: Path, partitions: int) -> sqlite3.Connection:
    """The connection that writes, its tables made if the file is new. Raises VaultDamaged or VaultVersion
    before anything in the file is changed."""
    check_header(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE_BYTES}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a file that is made now
        version = check_identity(connection, path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone does not reach the platter
        connection.execute("PRAGMA checkpoint_fullfsync=ON")
        connection.execute("PRAGMA wal_autocheckpoint=2000")
        connection.execute("PRAGMA journal_size_limit=67108864")
        connection.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
        if version == 0:
            _create(connection, partitions)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise VaultDamaged(f"the vault {path} cannot be read: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA cache_size=-4096")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def format_of(path: Path) -> int:
    """The format that the file's header names; 0 when there is no vault, or nothing in it yet."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return 0
    if len(header) < _HEADER_BYTES or int.from_bytes(header[68:72]) != APPLICATION_ID:
        return 0
    return int.from_bytes(header[60:64])


def check_header(path: Path) -> None:
    """Look at the file without SQLite (https://www.sqlite.org/fileformat.html, 1.3), which would write
    beside it."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return
    if not header:
        return
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise VaultDamaged(f"the vault {path} is no SQLite database")
    _refuse_other(path, int.from_bytes(header[68:72]), int.from_bytes(header[60:64]))
    page_size = int.from_bytes(header[16:18])
    promised = int.from_bytes(header[28:32]) * (65536 if page_size == 1 else page_size)
    there = path.stat().st_size
    log = path.with_name(path.name + "-wal")
    if there < promised and not (log.exists() and log.stat().st_size):
        raise VaultDamaged(f"the vault {path} is cut short: {there} of {promised} bytes are there")


def check_identity(connection: sqlite3.Connection, path: Path) -> int:
    """The file's format version; 0 for a file without tables."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    _refuse_other(path, application_id, version)
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise VaultDamaged(f"the vault {path} is some other program's database")
    return version


def floor_us(connection: sqlite3.Connection) -> int:
    """`Archive.floor_us`."""
    (floor,) = connection.execute("SELECT number FROM checkpoint WHERE name = 'floor'").fetchone()
    return int(floor)


def size_bytes(path: Path) -> int:
    """On disk, with what is not in the file itself yet."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _refuse_other(path: Path, application_id: int, version: int) -> None:
    if application_id not in (0, APPLICATION_ID):
        raise VaultDamaged(
            f"the vault {path} is some other program's database (application id {application_id:#x})"
        )
    if version not in (0, FORMAT):
        older = "; it is brought to it when the vault is started" if 0 < version < FORMAT else ""
        raise VaultVersion(
            f"the vault {path} has format {version}; this version of Trunkline reads format {FORMAT}{older}"
        )


def create_tables(connection: sqlite3.Connection) -> None:
    """All but those of the read models."""
    for statement in _TABLES.split(";"):
        connection.execute(statement)


def _create(connection: sqlite3.Connection, partitions: int) -> None:
    """All in one transaction, so that a crash leaves a file without tables, which the next start takes as
    new."""
    connection.execute("BEGIN IMMEDIATE")
    create_tables(connection)
    connection.executemany(
        "INSERT INTO head VALUES (?, 0, ?, ?)",
        [(number, chain.START, chain.START) for number in range(partitions + 1)],
    )
    models.create_all(connection)
    for name in CHECKPOINTS:
        connection.execute("INSERT INTO checkpoint VALUES (?, 0, ?)", (name, checksum_of_mark(name, 0)))
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")
    # The header's copy of both numbers must be in the file itself, where `check_header` looks.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
