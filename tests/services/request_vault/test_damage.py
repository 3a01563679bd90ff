"""One flipped bit anywhere in the vault's file is found, or lies where nothing is.

The vault is small and holds a bit of everything. Each flip is tried on the closed file; what finds it is
the opening, the proof of the log, or the check of what is folded from it. A flip that nothing finds must not
change anything that can be read.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bus import codec
from bus.errors import CannotOpen, Unavailable
from schemas.request_vault import ANY_VERSION, NO_STREAM, CallAnnotated
from schemas.traffic_gateway import Body
from services.request_vault.domain.links import Kept
from services.request_vault.domain.recording import to_us
from services.request_vault.domain.verifying import Problem
from services.request_vault.store import open_archive, open_store
from services.request_vault.store.port import Scope
from tests.conformance.vault.proofs import every_link, problems, prove
from tests.conformance.vault.vaults import Clock
from tests.effort import tries
from tests.services.request_vault.samples import BUCKET, START, captured, decision, event_of, order

FLIPS = tries(100)


async def fill(folder: Path) -> Path:
    """Every table holds something."""
    clock = Clock()
    async with open_store("sqlite:", folder, clock, partitions=2, readers=1) as store:
        apart = Body(50_000, 50_000, "ab" * 32, None)
        for n in range(6):
            clock.at_s += 1
            await store.record([order(n * 200 + i, key=f"k-{i % 3}") for i in range(199)])
            await store.record([captured(f"c-{n}", response_body=apart, at_s=n)])
            await store.append("shop.thing-a", ANY_VERSION, [decision(f"d-{n}")])
        note = event_of(CallAnnotated("c-4", BUCKET, "a note", ("a", "b")), "note", key=BUCKET)
        await store.append("vault.call-c-4", NO_STREAM, [codec.encode_event(note)])
        await store.append("vault.call-c-1", NO_STREAM, [decision("of-c-1", key=BUCKET)])
        await store.mark_published(3)
        while (await store.trim(Scope("k-0", keep_records=100), 100)).more:
            pass
        await store.erase(BUCKET, ["c-1"], by="token", why="asked to")
        clock.at_s += 100
        await store.forget(to_us(START) + 50_000_000, 30)
        assert await problems(store) == []
    return folder / "vault.db"


def everything(path: Path) -> dict[str, Any]:
    """What can be read of a file by whoever opens it, not by where it is kept."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
        ]
        return {
            name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall())) for name in names
        }


async def found(path: Path) -> list[Problem | str]:
    """What finds a flip, and what it says."""
    try:
        async with open_archive("sqlite:", path.parent) as archive:
            return await problems(archive)
    except (CannotOpen, Unavailable) as error:
        return [str(error)]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of a sound vault's file."""
    path = asyncio.run(fill(tmp_path_factory.mktemp("sound")))
    assert asyncio.run(found(path)) == []
    return path.read_bytes()


@pytest.fixture
def vault(tmp_path: Path, content: bytes) -> tuple[Path, bytes]:
    path = tmp_path / "vault.db"
    path.write_bytes(content)
    return path, content


@pytest.mark.slow
@pytest.mark.searches
@pytest.mark.timeout(tries(120))
async def test_a_flipped_bit_is_found_or_lies_where_nothing_is(vault: tuple[Path, bytes]) -> None:
    path, content = vault
    before = everything(path)
    outcomes: Counter[str] = Counter()
    chance = random.Random(20260101)
    for _ in range(FLIPS):
        bit = chance.randrange(len(content) * 8)
        flip(path, content, bit)
        told = await found(path)
        if told:
            outcomes["found"] += 1
        else:
            assert everything(path) == before, f"bit {bit % 8} of byte {bit // 8} changed what is read"
            outcomes["in nothing"] += 1
    assert outcomes["found"] > FLIPS / 3, outcomes


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "table",
    [
        *("record", "seen", "seal", "anchor", "tombstone", "head", "checkpoint", "usage", "type", "model"),
        *("call_1", "event_1", "tag_1", "body_1"),
    ],
)
async def test_a_value_that_was_changed_in_any_table_is_found(vault: tuple[Path, bytes], table: str) -> None:
    """Behind SQLite's back nothing else than values change: each column of a row of each table."""
    path, content = vault
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    for column, name in enumerate(columns):
        row = next((row for row in reversed(rows) if row[column] is not None), None)
        if row is None:
            continue
        path.write_bytes(content)
        with closing(sqlite3.connect(path)) as connection:
            where = " AND ".join(f"{each} IS ?" for each in columns)
            changed = connection.execute(
                f"UPDATE {table} SET {name} = ? WHERE {where}", (other(row[column]), *row)
            ).rowcount
            assert changed == 1
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for extra in ("-wal", "-shm"):
            path.with_name(path.name + extra).unlink(missing_ok=True)
        assert await found(path), f"{table}.{name} was changed"


def other(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, bytes):
        return bytes((value[0] ^ 1,)) + value[1:]
    return f"{value}~"


async def test_a_changed_record_is_named_by_its_position(vault: tuple[Path, bytes]) -> None:
    path, content = vault
    async with open_archive("sqlite:", path.parent) as archive:
        kept = [link async for link in every_link(archive, 1) if isinstance(link, Kept)]
    for link in (kept[0], kept[len(kept) // 2], kept[-1]):
        flip(path, content, content.index(link.event) * 8 + 200)
        async with open_archive("sqlite:", path.parent) as archive:
            first = await anext(prove(archive))
            assert isinstance(first, Problem)
            assert (first.position, first.what) == (
                (1, link.number),
                "the record does not match its checksum",
            )


def flip(path: Path, content: bytes, bit: int) -> None:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
