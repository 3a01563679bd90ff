"""`trunkline vault verify`: silent about what is sound, exact about what is not."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from pathlib import Path

import pytest

from tests.services.request_vault.commands.a_vault import CALLS, ORDERS, AVault, filled
from tests.services.request_vault.samples import BUCKET, order

SMALL = 60


@pytest.fixture
def vault(tmp_path: Path) -> AVault:
    return filled(tmp_path / "data", orders=SMALL, gone=False)


def test_a_sound_vault(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data")
    told = vault.ok("verify")
    # Of each erased call the record goes; its orders and marks stay.
    assert told == {
        "sound": True,
        "vault": str(vault.database),
        "events": ORDERS + CALLS + 2 - 1150 - 2,
        "erased": 2,
        "trimmed": 1150,
        "bodies": CALLS - 2,
        "found": 0,
        "problems": [],
    }
    said = vault.run("verify")
    assert said.code == 0
    assert said.out.startswith("Sound: ")
    assert "1 150 records trimmed" in said.out


async def test_a_vault_that_runs_is_read_beside_it(tmp_path: Path) -> None:
    vault = await asyncio.to_thread(filled, tmp_path / "data", orders=SMALL, gone=False)
    async with vault.opened() as store:
        await store.record([order(number, key="late") for number in range(1000, 1100)])
        told = await asyncio.to_thread(vault.ok, "verify")
        assert told["events"] == SMALL + CALLS + 2 + 100
        await store.record([order(2000)])  # and nothing was in its way


def test_a_bit_of_an_event(vault: AVault) -> None:
    content = bytearray(vault.database.read_bytes())
    at = content.index(b"order-17\xa4shop\xb1shop.order.placed") + 4  # as the event is encoded
    content[at] ^= 1
    vault.database.write_bytes(content)
    done = vault.run("verify", "--no-models")
    assert done.code == 1
    assert "does not match its checksum" in done.out
    (numbered,) = {line.split(": ")[0] for line in done.out.splitlines() if "checksum" in line}
    assert numbered.split(":")[1] == "18"


def test_a_bit_anywhere_in_the_records(vault: AVault) -> None:
    """Every column of the log's tables, changed behind SQLite's back as a disk would."""
    for table, column in (
        ("record", "event"),
        ("record", "salt"),
        ("record", "digest"),
        ("record", "stream"),
        ("record", "checksum"),
        ("record", "recorded_us"),
        ("head", "running"),
        ("seen", "content"),
        ("usage", "bytes"),
    ):
        before = vault.database.read_bytes()
        change = f"hex({column}) || '0'" if column in ("event", "salt", "digest") else f"{column} || '1'"
        with sqlite3.connect(vault.database) as connection:
            connection.execute(
                f"UPDATE {table} SET {column} = {change} WHERE rowid = (SELECT max(rowid) FROM {table})"
                if table not in ("seen", "usage")
                else f"UPDATE {table} SET {column} = {change}"
            )
        connection.close()
        for beside in ("-wal", "-shm"):
            vault.database.with_name("vault.db" + beside).unlink(missing_ok=True)
        done = vault.run("verify", "--json")
        assert done.code == 1, (table, column, done)
        vault.database.write_bytes(before)
    assert vault.run("verify").code == 0


def test_bits_of_bodies_and_bodies_that_are_gone(vault: AVault) -> None:
    files = vault.body_files()
    damaged, gone = random.Random(5).sample(files, 2)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)
    gone.unlink()
    done = vault.run("verify", "--json")
    assert done.code == 1
    problems = {problem["what"]: problem["why"] for problem in done.json["problems"]}
    assert set(problems) == {f"{BUCKET}/{damaged.stem}", f"{BUCKET}/{gone.stem}"}
    assert "it is not there, but the call at" in problems[f"{BUCKET}/{gone.stem}"]
    assert vault.ok("verify", "--no-bodies")["bodies"] is None


def test_a_stranger_among_the_bodies(vault: AVault) -> None:
    stranger = vault.folder / "bodies" / BUCKET / "ab" / "note.txt"
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("what is this?")
    done = vault.run("verify")
    assert done.code == 1
    assert str(stranger) in done.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no database at all, but long enough to hold a header" * 4, "no SQLite database"),
        (b"SQLite", "no SQLite"),
    ],
)
def test_what_cannot_be_opened(vault: AVault, content: bytes, said: str) -> None:
    vault.database.write_bytes(content)
    assert said in vault.refused("verify", slug="vault-damaged")
    assert vault.database.read_bytes() == content


def test_a_vault_that_is_cut_short(vault: AVault) -> None:
    os.truncate(vault.database, vault.database.stat().st_size // 2)
    assert "cut short" in vault.refused("verify", slug="vault-damaged")


def test_there_is_none(tmp_path: Path) -> None:
    vault = AVault(tmp_path / "nothing")
    for verb in ("verify", "stats"):
        assert "there is no vault" in vault.refused(verb, slug="vault-missing")
    assert not vault.data_dir.exists(), "looking makes nothing"
