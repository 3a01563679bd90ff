"""The file: its tables, how it is created, what is checked before it is opened, and the lock that keeps
others out.

A record's place is `partition << 48 | number`, so that one integer key orders each partition and the tree
grows at one end per partition. `seen` holds identities apart from records, so that they can outlive them.
`salt` and `digest` are for the chain over record digests; they are NULL until it is built. Types are
numbered once (`type`). Texts are compared by their bytes.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.request_vault.store.errors import VaultDamaged, VaultInUse, VaultVersion

FORMAT = 1
APPLICATION_ID = 0x54524B56  # "TRKV"
PARTITION_SHIFT = 48
NUMBER_MASK = (1 << PARTITION_SHIFT) - 1
PAGE_SIZE_BYTES = 8192

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"

_TABLES = """
CREATE TABLE head (
    partition INTEGER PRIMARY KEY,
    number    INTEGER NOT NULL,
    calls     INTEGER NOT NULL
);
CREATE TABLE checkpoint (
    name   TEXT PRIMARY KEY,
    number INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE type (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
);
CREATE TABLE record (
    place       INTEGER PRIMARY KEY,
    stream      TEXT NOT NULL,
    version     INTEGER NOT NULL,
    category    TEXT,
    prev        INTEGER,
    type        INTEGER NOT NULL,
    key         TEXT NOT NULL,
    subject     TEXT,
    correlation TEXT,
    time_us     INTEGER NOT NULL,
    recorded_us INTEGER NOT NULL,
    checksum    INTEGER NOT NULL,
    salt        BLOB,
    digest      BLOB,
    event       BLOB NOT NULL
);
CREATE UNIQUE INDEX record_stream ON record (stream, version);
CREATE INDEX record_category ON record (category, place) WHERE category IS NOT NULL;
CREATE INDEX record_correlation ON record (correlation, place) WHERE correlation IS NOT NULL;
CREATE TABLE seen (
    id      TEXT NOT NULL,
    source  TEXT NOT NULL,
    place   INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (id, source)
) WITHOUT ROWID;
CREATE TABLE call (
    place          INTEGER PRIMARY KEY,
    id             TEXT NOT NULL,
    bucket         TEXT NOT NULL,
    started_us     INTEGER NOT NULL,
    method         TEXT NOT NULL COLLATE NOCASE,
    scheme         TEXT NOT NULL,
    host           TEXT NOT NULL,
    path           TEXT NOT NULL,
    query          TEXT NOT NULL,
    status         INTEGER,
    duration_us    INTEGER NOT NULL,
    request_bytes  INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    content_type   TEXT,
    error          TEXT,
    origin         TEXT NOT NULL
);
CREATE INDEX call_id ON call (id);
CREATE INDEX call_newest ON call (bucket, place, started_us);
CREATE INDEX call_method ON call (bucket, method, place);
CREATE INDEX call_host ON call (bucket, host, place);
CREATE INDEX call_status ON call (bucket, status / 100, place, status);
CREATE INDEX call_error ON call (bucket, place, error) WHERE error IS NOT NULL;
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
    _check_header(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE_BYTES}")
        version = _check_identity(connection, path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone does not reach the platter
        connection.execute("PRAGMA checkpoint_fullfsync=ON")
        connection.execute("PRAGMA wal_autocheckpoint=2000")
        connection.execute("PRAGMA journal_size_limit=67108864")
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


def _check_header(path: Path) -> None:
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


def _check_identity(connection: sqlite3.Connection, path: Path) -> int:
    """The file's format version; 0 for a file without tables."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    _refuse_other(path, application_id, version)
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise VaultDamaged(f"the vault {path} is some other program's database")
    return version


def _refuse_other(path: Path, application_id: int, version: int) -> None:
    if application_id not in (0, APPLICATION_ID):
        raise VaultDamaged(
            f"the vault {path} is some other program's database (application id {application_id:#x})"
        )
    if version not in (0, FORMAT):
        raise VaultVersion(
            f"the vault {path} has format {version}; this version of Trunkline reads format {FORMAT}"
        )


def _create(connection: sqlite3.Connection, partitions: int) -> None:
    """All in one transaction, so that a crash leaves a file without tables, which the next start takes as
    new."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO head VALUES (?, 0, 0)", [(number,) for number in range(partitions + 1)]
    )
    connection.execute("INSERT INTO checkpoint VALUES ('published', 0)")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")
    # The header's copy of both numbers must be in the file itself, where `_check_header` looks.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
