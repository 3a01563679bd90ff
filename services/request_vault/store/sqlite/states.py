"""How far a vault's read models and text index are, seen from outside the process that builds them."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from schemas.request_vault import ModelState
from services.request_vault.store.sqlite import models
from services.request_vault.store.sqlite.linking import ends
from services.request_vault.store.sqlite.models import VERSIONS, building
from services.request_vault.store.sqlite.places import PARTITION_SHIFT


def model_states(connection: sqlite3.Connection) -> tuple[ModelState, ...]:
    numbers = [end.number for end in ends(connection)]
    generations = models.load(connection)
    return tuple(building.state_of(generations, name, numbers) for name in VERSIONS)


def text_behind(connection: sqlite3.Connection, texts: Path) -> int:
    """How many calls the text index in `texts` lacks; all when there is none that can be read."""
    call = models.load(connection).call
    reached = _reached(texts)
    behind = 0
    for end in ends(connection)[1:]:
        base = end.partition << PARTITION_SHIFT
        (count,) = connection.execute(
            f"SELECT count(*) FROM {call} WHERE place > ? AND place <= ?",
            (reached.get(end.partition, base), base | end.number),
        ).fetchone()
        behind += count
    return behind


def _reached(texts: Path) -> dict[int, int]:
    with suppress(sqlite3.Error):
        address = f"{texts.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            return dict(connection.execute("SELECT partition, place FROM progress").fetchall())
    return {}
