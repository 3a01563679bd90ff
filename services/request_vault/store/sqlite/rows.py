"""Many rows in one step of SQLite.

The driver gives up the interpreter's lock around every step, and a thread that gives it up beside a busy
event loop waits a switch interval (5 ms) to get it back: row by row, 500 rows then cost seconds. So rows
are written by statements of many rows, and read as one JSON array, blobs as hex. It is also no slower
when nothing else runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_STEPS = (256, 64, 16, 4, 1)


def insert_rows(connection: sqlite3.Connection, table: str, width: int, values: Sequence[Any]) -> None:
    """Insert `len(values) / width` rows, whose values stand one after another."""
    at = 0
    left = len(values) // width
    for step in _STEPS:
        while left >= step:
            end = at + step * width
            connection.execute(_insert(table, width, step), values[at:end])
            at = end
            left -= step


@lru_cache(maxsize=64)
def _insert(table: str, width: int, count: int) -> str:
    row = f"({','.join('?' * width)})"
    return f"INSERT INTO {table} VALUES {','.join([row] * count)}"


def select(columns: str, source: str) -> str:
    """A statement whose one row is the JSON array of `source`'s rows, each an array of `columns`."""
    return f"SELECT json_group_array(json_array({columns})) FROM {source}"


def fetch(
    connection: sqlite3.Connection,
    statement: str,
    parameters: Sequence[Any] | dict[str, Any],
    decoder: msgspec.json.Decoder[list[T]],
) -> list[T]:
    """The rows of a `select` statement."""
    (text,) = connection.execute(statement, parameters).fetchone()
    return decoder.decode(text)


def json_list(values: Sequence[str] | Sequence[int]) -> str:
    """A parameter for `json_each(?)`."""
    return msgspec.json.encode(values).decode()
