"""Rows into tables, statements with named parameters, and texts that PostgreSQL cannot hold.

A text column takes every character but NUL, which the URL or the header of a call may well hold. Such a
text is stored with two noncharacters of Unicode for each NUL; they keep it equal to itself only, and what
it begins with what it begins with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from services.request_vault.store.postgres.connections import Connection

T = TypeVar("T")

_MARK = "\U0010fffe"
_NUL = _MARK + "\U0010ffff"
_NAME = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")


async def copy(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Write all rows by COPY, in its binary form."""
    if rows:
        await connection.copy_records_to_table(table, records=rows, columns=columns)


async def fetch(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
    """The rows of a statement whose parameters are written `:name`. Each is an integer, a text (as it is
    `stored`), a list of integers, or None for a text that is not given."""
    values: list[Any] = []
    numbers: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        name = found[1]
        if name not in numbers:
            values.append(parameters[name])
            numbers[name] = f"${len(values)}::{_type(parameters[name])}"
        return numbers[name]

    return await connection.fetch(_NAME.sub(numbered, statement), *values)


def stored(text: str) -> str:
    """A text as a column holds it."""
    if "\x00" in text or _MARK in text:
        return text.replace(_MARK, _MARK * 2).replace("\x00", _NUL)
    return text


def restored(text: str) -> str:
    """What `stored` was given."""
    if _MARK not in text:
        return text
    return _MARK.join(part.replace(_NUL, "\x00") for part in text.split(_MARK * 2))


def storable(values: Iterable[Any]) -> list[Any]:
    return [stored(value) if type(value) is str else value for value in values]


def columns_of(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """The columns of rows, for `unnest`; without rows, that many empty ones."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _type(value: object) -> str:
    if isinstance(value, list):
        return "bigint[]"
    return "bigint" if isinstance(value, int) else "text"
