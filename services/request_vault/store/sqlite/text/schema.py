"""The file of the text index: its tables, its connections, and how it is thrown away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

FORMAT = 1
WORDS_VERSION = 1
"""Raised when `services.calls.words` gives other tokens for a call. Shards of another version are built
anew."""
APPLICATION_ID = 0x54524B54  # "TRKT"
COLUMNS = "url, headers, named, bodies"

_PAGE_SIZE_BYTES = 8192
_BUSY_MS = 2000

# shard: `first` and `last` are places, both inclusive; `until`: the end of one that is being built. erased:
# tombstones among them when its building began. progress: the place up to which a partition is indexed, and
# the digest of one of its records, so that the file is not taken for another log's. late: calls that were
# indexed without bodies that had not arrived, with the tokens that they were indexed by.
_TABLES = """
CREATE TABLE shard (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    state   TEXT NOT NULL CHECK (state IN ('open', 'full', 'merged', 'building')),
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    calls   INTEGER NOT NULL,
    erased  INTEGER NOT NULL,
    version INTEGER NOT NULL
);
CREATE TABLE progress (
    partition INTEGER PRIMARY KEY,
    place     INTEGER NOT NULL,
    proven    INTEGER NOT NULL,
    digest    BLOB NOT NULL
);
CREATE TABLE bucket (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
);
CREATE TABLE late (
    shard   INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    bucket  TEXT NOT NULL,
    until_us INTEGER NOT NULL,
    missing TEXT NOT NULL,
    packed  BLOB NOT NULL,
    PRIMARY KEY (shard, place)
) WITHOUT ROWID;
"""


class Unusable(Exception):
    """The file is of another format, or no text index."""


def table(shard: int) -> str:
    return f"words_{shard}"


def open_text_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes, the tables made if the file is new. Raises Unusable, sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size={_PAGE_SIZE_BYTES}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # what a power loss takes is indexed again
        connection.execute("PRAGMA secure_delete=ON")  # words of erased calls do not stay in free pages
        connection.execute("PRAGMA journal_size_limit=16777216")
        connection.execute("PRAGMA cache_size=-8192")
        if (application_id, version) == (0, 0):
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                raise Unusable("it is some other program's database")
            _create(connection)
        elif (application_id, version) != (APPLICATION_ID, FORMAT):
            raise Unusable(f"it has format {version} (application id {application_id:#x})")
        connection.execute("SELECT count(*) FROM shard").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def open_text_reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    connection.execute("PRAGMA cache_size=-4096")
    return connection


def files_of(path: Path) -> tuple[Path, ...]:
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def discard(path: Path) -> None:
    for file in files_of(path):
        file.unlink(missing_ok=True)


def create_words(connection: sqlite3.Connection, shard: int) -> None:
    name = table(shard)
    connection.execute(
        f"CREATE VIRTUAL TABLE {name} USING fts5({COLUMNS}, content='', columnsize=0,"
        """ tokenize="ascii tokenchars '_='")"""
    )
    connection.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('automerge', 8)")


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")
