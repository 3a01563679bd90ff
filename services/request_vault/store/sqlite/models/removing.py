"""Taking rows out of the read models, together with the records that they were made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from services.request_vault.store.sqlite.models.definitions import VERSIONS
from services.request_vault.store.sqlite.models.generations import Generations
from services.request_vault.store.sqlite.rows import fetch, json_list, select

_body_decoder = msgspec.json.Decoder(list[tuple[str, str]])


def remove_rows(
    connection: sqlite3.Connection, generations: Generations, places: Sequence[int]
) -> tuple[Generations, list[tuple[str, str]]]:
    """Out of every generation, those being built included. What the ledger holds from now on, and the bodies
    (bucket, hash) that no call names any more."""
    named = fetch(
        connection,
        select(
            "bucket, sha256",
            f"""(SELECT DISTINCT bucket, sha256 FROM {generations.body}
            WHERE place IN (SELECT value FROM json_each(?)))""",
        ),
        (json_list(places),),
        _body_decoder,
    )
    for name in VERSIONS:
        for generation in generations.written(name):
            delete_rows(connection, name, generation, places)
    after = msgspec.structs.replace(generations, removals=generations.removals + 1)
    return after, unnamed(connection, generations, named)


def delete_rows(connection: sqlite3.Connection, name: str, generation: int, places: Sequence[int]) -> None:
    """Out of one generation of the model `name`."""
    wanted = (json_list(places),)
    if name == "events":
        connection.execute(
            f"DELETE FROM event_{generation} WHERE place IN (SELECT value FROM json_each(?))", wanted
        )
        return
    connection.execute(
        f"""DELETE FROM tag_{generation} WHERE (bucket, tag, place) IN (
            SELECT c.bucket, t.value, c.place
            FROM json_each(?) w CROSS JOIN call_{generation} c ON c.place = w.value
            CROSS JOIN json_each(c.tags) t)""",
        wanted,
    )
    for table in ("body", "call"):
        connection.execute(
            f"DELETE FROM {table}_{generation} WHERE place IN (SELECT value FROM json_each(?))", wanted
        )


def unnamed(
    connection: sqlite3.Connection, generations: Generations, bodies: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Those that no call names. None while the model is one of an older version, which may not know."""
    if generations.versions["calls"] != VERSIONS["calls"]:
        return []
    if not bodies:
        return []
    return fetch(
        connection,
        select(
            "w.bucket, w.sha256",
            f"""(SELECT json_extract(value, '$[0]') AS bucket, json_extract(value, '$[1]') AS sha256
                FROM json_each(?)) w
            WHERE NOT EXISTS (SELECT 1 FROM {generations.body} b
                              WHERE b.bucket = w.bucket AND b.sha256 = w.sha256)""",
        ),
        (msgspec.json.encode(bodies).decode(),),
        _body_decoder,
    )
