"""The journal's file format: its tables, its version, and the checks made before a file is touched. Called by
`journal`.

A journal is one SQLite file. `PRAGMA application_id` says that it is a journal, `PRAGMA user_version` in
which format. A new file is built under another name and renamed when it is whole, so that an empty or short
file is always damage.

Tables
- journal: one row; `clean` is 0 while the journal is open, so that the next opening knows whether it was
  closed properly.
- subscription: the durable ones. `read_to` is the cursor: frames up to it are settled, except those in
  `held`. `mark` is the newest frame that may have been handed to a consumer.
- frame: one row a frame, in the order of publishing. `routes` are the numbers of the subscriptions that take
  it (`,1,4,`; numbers below 0 are every_instance queues and mean nothing to a later process); `offered` those
  among them that may have been handed it as soon as it was committed. A row goes when the last of its
  subscriptions has settled it.
- held: the exceptions to the cursors, and how often each came back.
- suspect: frames to be taken one at a time; `handed` is committed before such a frame is delivered.
- delayed: frames that are not due yet, for one subscription or (NULL) to be routed when they are.
- kept: what was published under `bus.event.`.
Times are microseconds since 1970 UTC, topics and headers JSON.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bus.errors import CannotOpen, JournalDamaged, JournalVersion, Malformed
from bus.transport import Frame

APPLICATION_ID = 0x54524B4A  # "TRKJ"
VERSION = 1
PAGE_BYTES = 16_384  # frames of 100 KiB: a third faster than SQLite's default of 4 KiB
CHECK_WHOLE_BYTES = 256 * 1024 * 1024  # a larger journal is checked by its size and header only

_PAYLOAD = (
    "topics TEXT, content_type TEXT, headers TEXT, attempt INTEGER, first_failed_us INTEGER, last_error TEXT,"
    " body BLOB"
)
PAYLOAD_COLUMNS = "topics, content_type, headers, attempt, first_failed_us, last_error, body"

_TABLES = f"""
CREATE TABLE journal (clean INTEGER NOT NULL);
INSERT INTO journal VALUES (1);
CREATE TABLE subscription (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, exchange TEXT NOT NULL,
    mode TEXT NOT NULL, patterns TEXT NOT NULL, read_to INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE TABLE frame (id INTEGER PRIMARY KEY, routes TEXT NOT NULL, offered TEXT NOT NULL, {_PAYLOAD});
CREATE TABLE held (subscription INTEGER, frame INTEGER, returned INTEGER NOT NULL,
    PRIMARY KEY (subscription, frame)) WITHOUT ROWID;
CREATE TABLE suspect (id INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, handed INTEGER NOT NULL,
    returned INTEGER NOT NULL, {_PAYLOAD});
CREATE TABLE delayed (id INTEGER PRIMARY KEY, due_us INTEGER NOT NULL, exchange TEXT NOT NULL,
    subscription INTEGER, suspect INTEGER NOT NULL, {_PAYLOAD});
CREATE INDEX delayed_due ON delayed (due_us, id);
CREATE TABLE kept (id INTEGER PRIMARY KEY, kept_at_us INTEGER NOT NULL, {_PAYLOAD});
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_topics_decoder = msgspec.json.Decoder(tuple[str, ...])
_headers_decoder = msgspec.json.Decoder(dict[str, str])


def micros(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def payload(frame: Frame) -> tuple[Any, ...]:
    """A frame's values for PAYLOAD_COLUMNS. Raises Malformed for text that UTF-8 cannot hold."""
    failed_at = None if frame.first_failed_at is None else micros(frame.first_failed_at)
    try:
        frame.content_type.encode()
        topics = msgspec.json.encode(frame.topics).decode()
        headers = msgspec.json.encode(frame.headers).decode()
    except UnicodeEncodeError as error:
        raise Malformed(
            f"frame with topic {frame.topics[0]!r:.80}: topics, content type or headers are no text"
        ) from error
    last_error = None if frame.last_error is None else frame.last_error.encode("utf-8", "replace").decode()
    return (topics, frame.content_type, headers, frame.attempt, failed_at, last_error, frame.body)


def frame_of(values: Sequence[Any], *, suspect: bool = False) -> Frame:
    """The frame whose `payload` these are."""
    topics, content_type, headers, attempt, failed_us, last_error, body = values
    return Frame(
        body=body,
        topics=_topics_decoder.decode(topics),
        content_type=content_type,
        headers={} if headers == "{}" else _headers_decoder.decode(headers),
        attempt=attempt,
        suspect=suspect,
        first_failed_at=None if failed_us is None else _EPOCH + failed_us * _MICROSECOND,
        last_error=last_error,
    )


def make_tables(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.executescript(_TABLES)


def create(path: Path) -> None:
    """Make an empty journal at `path`, whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(unfinished, isolation_level=None)
        try:
            make_tables(connection)
        finally:
            connection.close()
        unfinished.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except (OSError, sqlite3.Error) as error:
        raise CannotOpen(f"journal {path} cannot be made: {error}") from error


def check(path: Path) -> None:
    """Raises JournalDamaged or JournalVersion unless the file at `path` is a journal that this version can
    read. Changes nothing."""
    wal = path.with_name(path.name + "-wal")
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    try:
        with path.open("rb") as file:
            header = file.read(100)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise CannotOpen(f"journal {path} cannot be read: {error.strerror}") from error
    if len(header) < 100:
        raise JournalDamaged(f"journal {path} has {len(header)} bytes: it was cut short")
    if not header.startswith(b"SQLite format 3\0"):
        raise JournalDamaged(f"journal {path} is no SQLite file: it begins with {header[:16]!r}")
    page_bytes = int.from_bytes(header[16:18], "big")
    expected = (65_536 if page_bytes == 1 else page_bytes) * int.from_bytes(header[28:32], "big")
    if wal_bytes == 0 and size < expected:  # with a log to replay, the file may yet have to grow
        raise JournalDamaged(f"journal {path} has {size} of {expected} bytes: it was cut short")
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            _check_content(connection, path, size)
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise CannotOpen(f"journal {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise JournalDamaged(f"journal {path} cannot be read: {error}") from error


def _check_content(connection: sqlite3.Connection, path: Path, size: int) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        raise JournalDamaged(
            f"journal {path} is an SQLite file of something else (application id {application_id})"
        )
    if version != VERSION:
        raise JournalVersion(f"journal {path} has format {version}; this version reads format {VERSION}")
    if size <= CHECK_WHOLE_BYTES:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise JournalDamaged(f"journal {path}: {verdict}")
