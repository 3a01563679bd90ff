"""Whether the file is sound: its pages, its tables, and whatever is neither a link of the log, which
`domain.verifying` proves, nor folded from it, which `comparing` does.

Reads the whole file inside one reading transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from services.request_vault.domain import chain
from services.request_vault.domain.links import Identity, checksum_of_identity, checksum_of_mark
from services.request_vault.store.sqlite import schema
from services.request_vault.store.sqlite.comparing import compare
from services.request_vault.store.sqlite.failures import UNREADABLE
from services.request_vault.store.sqlite.models import VERSIONS
from services.request_vault.store.sqlite.models.definitions import TABLES
from services.request_vault.store.sqlite.models.generations import create
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT, position_of
from services.request_vault.store.sqlite.rows import fetch, select

MOST = 100
"""Problems that are told; a file with more is told to have more."""
_PAGE = 1000

_gone = msgspec.json.Decoder(list[tuple[str, str, int, str, int, int, int]])

# Where each number of a partition is: as a record, a tombstone or part of an anchor.
_COUNTED = """
SELECT place >> :shift AS partition, sum(count), min(place & :mask), max(last & :mask) FROM (
    SELECT place, place AS last, 1 AS count FROM record
    UNION ALL SELECT place, place, 1 FROM tombstone
    UNION ALL SELECT place, last, last - place + 1 FROM anchor
) GROUP BY partition
"""
_GONE = select(
    "id, source, place, hex(content), gone_us, time_us, checksum",
    """(SELECT * FROM seen INDEXED BY seen_gone_place WHERE gone_us IS NOT NULL AND place > ?
        ORDER BY place LIMIT ?)""",
)
_STRAY_IDENTITIES = """
SELECT s.place FROM seen s INDEXED BY seen_gone_place WHERE s.gone_us IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM tombstone t WHERE t.place = s.place)
AND NOT coalesce(
    (SELECT a.last >= s.place FROM anchor a WHERE a.place <= s.place ORDER BY a.place DESC LIMIT 1), false)
LIMIT 100
"""


def check(connection: sqlite3.Connection, going: Callable[[], bool] = lambda: True) -> list[str]:
    """`Archive.check`. going: False once nobody waits for it any more."""
    problems: list[str] = []
    for look in (_pages, _tables, _types, _numbers, _seals, _checkpoints, _identities, compare):
        try:
            for problem in islice(look(connection), MOST):
                problems.append(problem)
                if not going():
                    return problems
        except UNREADABLE as error:
            problems.append(f"the database cannot be read: {error}")
    if len(problems) > MOST:
        problems[MOST:] = ["and more"]
    return problems


def _pages(connection: sqlite3.Connection) -> Iterator[str]:
    for (text,) in connection.execute(f"PRAGMA integrity_check({MOST})").fetchall():
        if text != "ok":
            yield f"the database file: {text}"


def _tables(connection: sqlite3.Connection) -> Iterator[str]:
    """The statements that made the tables are read by SQLite whenever the file is opened."""
    there = _schema_of(connection)
    # An old generation leaves index by index, table by table.
    used = set(
        connection.execute("SELECT name, generation FROM model UNION SELECT name, generation FROM build")
    )
    leaving: set[str] = set()
    today = sqlite3.connect(":memory:", isolation_level=None)
    try:
        schema.create_tables(today)
        known = dict(connection.execute("SELECT name, version FROM model").fetchall())
        for name, numbered in TABLES.items():
            if not 1 <= known.get(name, 0) <= VERSIONS[name]:
                yield f"read model {name} has version {known.get(name)}"
            for generation in sorted({each for table in numbered for each in _generations(there, table)}):
                if known.get(name) == VERSIONS[name]:
                    before = _schema_of(today).keys()
                    create(today, name, generation)
                    if (name, generation) not in used:
                        leaving |= _schema_of(today).keys() - before
        expected = _schema_of(today)
    finally:
        today.close()
    for name in sorted((expected.keys() - (leaving - there.keys())) | there.keys()):
        if expected.get(name) != there.get(name) and not _of_older_model(name, known):
            yield f"table or index {name} is not what this format has"
    names = {name for (name,) in connection.execute("SELECT name FROM model")}
    if names != VERSIONS.keys():
        yield f"there are read models {sorted(names)}"


def _types(connection: sqlite3.Connection) -> Iterator[str]:
    """A value of another type than its column's may read the same."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (table,) in tables:
        declared = connection.execute(f"PRAGMA table_info({table})").fetchall()
        wrong = " OR ".join(
            f"typeof({name}) NOT IN ('{type_.lower()}', 'null')" for _, name, type_, *_ in declared
        )
        (count,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {wrong}").fetchone()
        if count:
            yield f"{count} rows of {table} hold values of another type than their columns"


def _numbers(connection: sqlite3.Connection) -> Iterator[str]:
    heads = dict(connection.execute("SELECT partition, number FROM head").fetchall())
    if sorted(heads) != list(range(len(heads))) or len(heads) < 2:
        yield f"there are partitions {sorted(heads)}"
    counted = {
        partition: told
        for partition, *told in connection.execute(
            _COUNTED, {"shift": PARTITION_SHIFT, "mask": NUMBER_MASK}
        ).fetchall()
    }
    for partition in sorted(heads.keys() | counted.keys()):
        head = heads.get(partition, 0)
        count, first, last = counted.get(partition, (0, 1, 0))
        if (count, first, last) != (head, 1, head):
            yield f"partition {partition} ends at {head}, but holds {count} numbers from {first} to {last}"


def _seals(connection: sqlite3.Connection) -> Iterator[str]:
    heads = connection.execute("SELECT partition, number FROM head").fetchall()
    expected = sum(number // chain.SEGMENT for _, number in heads)
    (count,) = connection.execute("SELECT count(*) FROM seal").fetchone()
    if count != expected:
        yield f"there are {count} seals, not {expected}"


def _checkpoints(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute("SELECT name, number, checksum FROM checkpoint").fetchall()
    if sorted(name for name, *_ in rows) != sorted(schema.CHECKPOINTS):
        yield f"there are checkpoints {sorted(name for name, *_ in rows)}"
    for name, number, checksum in rows:
        if checksum != checksum_of_mark(name, number):
            yield f"checkpoint {name} does not match its checksum"


def _identities(connection: sqlite3.Connection) -> Iterator[str]:
    """Those of records that are gone."""
    after = -1
    while rows := fetch(connection, _GONE, (after, _PAGE), _gone):
        for id, source, place, content, gone_us, time_us, checksum in rows:
            partition, number = position_of(place)
            identity = Identity(number, id, source, bytes.fromhex(content), gone_us, time_us, checksum)
            if checksum != checksum_of_identity(partition, identity):
                yield f"position {(partition, number)}: the identity that is left does not match its checksum"
        after = rows[-1][2]
    for (place,) in connection.execute(_STRAY_IDENTITIES):
        yield f"position {position_of(place)}: an identity was left, but nothing is gone there"


def _schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(
        connection.execute(
            "SELECT name, type || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_schema"
        )
    )


def _generations(there: dict[str, str], table: str) -> list[int]:
    return [int(found[1]) for name in there if (found := re.fullmatch(rf"{table}_([0-9]+)", name))]


def _of_older_model(name: str, known: dict[str, int]) -> bool:
    """A table of a model that is still to be built anew has the form of its own version."""
    return any(
        known.get(model) != VERSIONS[model]
        and re.match(rf"(sqlite_autoindex_)?({'|'.join(tables)})_[0-9]", name)
        for model, tables in TABLES.items()
    )
