"""Calls that were indexed without a body that had not arrived, and are indexed once more when it has."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

import msgspec

from services.request_vault.store.port import CallText, LateText
from services.request_vault.store.sqlite.places import place_of, position_of
from services.request_vault.store.sqlite.rows import fetch, insert_rows, json_list, select
from services.request_vault.store.sqlite.text.schema import COLUMNS, table
from services.request_vault.store.sqlite.text.shards import State

LATE_MOST = 10_000
"""So many are remembered; the bodies of more are not searched until their shard is built anew."""

Columns = tuple[str, str, str, str]


class _Row(msgspec.Struct, array_like=True):
    shard: int
    place: int
    bucket: str
    missing: str


_row_decoder = msgspec.json.Decoder(list[_Row])
_hashes_decoder = msgspec.json.Decoder(tuple[str, ...])
_columns_decoder = msgspec.json.Decoder(Columns)
_WIDTH = 6
_ROWS = select("shard, place, bucket, missing", "(SELECT * FROM late WHERE place > ? ORDER BY place LIMIT ?)")


def remember(connection: sqlite3.Connection, shard: int, texts: Sequence[tuple[CallText, Columns]]) -> None:
    """These calls and the tokens that they are indexed by."""
    rows: list[object] = []
    for text, columns in texts:
        packed = zlib.compress(msgspec.json.encode(columns), 1)
        place = place_of(text.position)
        rows += (shard, place, text.bucket, text.missing_until_us, json_list(text.missing), packed)
    (remembered,) = connection.execute("SELECT count(*) FROM late").fetchone()
    insert_rows(connection, "late", _WIDTH, rows[: max(0, LATE_MOST - remembered) * _WIDTH])


def read(connection: sqlite3.Connection, state: State, after: int, limit: int, now_us: int) -> list[LateText]:
    """Those after a place, in order; none of a shard that is on its way in or out, which will know by
    itself. Forgets those that have waited long enough."""
    if connection.execute("SELECT EXISTS (SELECT 1 FROM late WHERE until_us <= ?)", (now_us,)).fetchone()[0]:
        connection.execute("DELETE FROM late WHERE until_us <= ?", (now_us,))
    shards = _settled(state)
    return [
        LateText(position_of(row.place), row.bucket, _hashes_decoder.decode(row.missing))
        for row in fetch(connection, _ROWS, (after, limit), _row_decoder)
        if row.shard in shards
    ]


def forget(connection: sqlite3.Connection, state: State, text: CallText) -> int | None:
    """Take a call out of its shard, so that it can be put in anew; the shard, or None when it is none of
    those that are remembered. What FTS5 is told to forget must be exactly what it was told before."""
    place = place_of(text.position)
    row = connection.execute(
        "SELECT shard, packed FROM late WHERE place = ? AND shard IN (SELECT value FROM json_each(?))",
        (place, json_list(sorted(_settled(state)))),
    ).fetchone()
    if row is None:
        return None
    shard, packed = row
    columns = _columns_decoder.decode(zlib.decompress(packed))
    name = table(shard)
    connection.execute(
        f"INSERT INTO {name} ({name}, rowid, {COLUMNS}) VALUES ('delete', ?, ?, ?, ?, ?)", (place, *columns)
    )
    connection.execute("DELETE FROM late WHERE shard = ? AND place = ?", (shard, place))
    return int(shard)


def _settled(state: State) -> set[int]:
    building = state.building
    leaving = () if building is None else state.replaced_by(building)
    return {shard.number for shard in state.all()}.difference(shard.number for shard in leaving)
