"""Power that goes away in the middle of a write: whatever of it did not reach the disk, or reached it in
part, the vault comes back with exactly what it had acknowledged before.

SQLite appends each commit to the write-ahead log and syncs it, then answers. What may be lost or torn is what
was written after the last sync: the frames of the commit that was being made, in any order and any state. The
database file itself is written by checkpoints only, while the log still holds the same pages.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from schemas.request_vault import ANY_VERSION
from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from tests.conformance.vault.proofs import problems
from tests.conformance.vault.vaults import Clock, ids, whole_log
from tests.services.request_vault.samples import captured, decision

COMMITS = 6
HEADER_BYTES = 32
FRAME_HEAD_BYTES = 24
PAGE_BYTES = 8192
FRAME_BYTES = FRAME_HEAD_BYTES + PAGE_BYTES
SECTOR_BYTES = 512


class Vault:
    """What was on disk after each commit. logs: the length of the write-ahead log. held: what was
    acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = b""
        self.log = b""
        self.logs: list[int] = []
        self.held: list[list[str]] = []

    async def fill(self) -> None:
        """Commits that nothing moves into the database file."""
        async with opened(self.folder) as store:
            wal = self.folder / "vault.db-wal"
            for n in range(COMMITS):
                if n % 2:
                    await store.append(
                        "shop.thing-a", ANY_VERSION, [decision(f"d-{n}-{i}") for i in range(3)]
                    )
                else:
                    await store.record([captured(f"c-{n}-{i}") for i in range(12)])
                self.logs.append(wal.stat().st_size)
                self.held.append(sorted(ids(await whole_log(store))))
            self.database = (self.folder / "vault.db").read_bytes()
            self.log = wal.read_bytes()

    async def check(self, folder: Path, log: bytes, commits: int, database: bytes | None = None) -> None:
        """With this log, a vault has the first so many commits, and goes on from there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "vault.db").write_bytes(self.database if database is None else database)
        (folder / "vault.db-wal").write_bytes(log)
        held = self.held[commits - 1] if commits else []
        async with opened(folder) as store:
            assert sorted(ids(await whole_log(store))) == held
            assert await problems(store) == []
            again = await store.record([captured("c-0-0"), captured("c-4-11"), captured("c-9")])
            there = (commits > 0) + (commits > 4)
            assert (again.repeated, again.recorded) == (there, 3 - there)
        async with opened(folder) as store:
            assert len(await whole_log(store)) == len(held) + 3 - there
            assert await problems(store) == []


def opened(folder: Path) -> AbstractAsyncContextManager[Store]:
    return open_store("sqlite:", folder, Clock(), partitions=1, readers=1)


@pytest.fixture
async def vault(tmp_path: Path) -> Vault:
    filled = Vault(tmp_path / "vault")
    await filled.fill()
    assert len(set(filled.logs)) == COMMITS
    return filled


@pytest.mark.parametrize("commits", range(COMMITS + 1))
async def test_what_was_synced_is_there(vault: Vault, tmp_path: Path, commits: int) -> None:
    """Nothing of the next commit reached the disk."""
    log = vault.log[: vault.logs[commits - 1]] if commits else b""
    await vault.check(tmp_path / "again", log, commits)


Damage = Callable[[random.Random, bytes, int], bytes]


def cut(chance: random.Random, log: bytes, since: int) -> bytes:
    return log[: chance.randrange(since, len(log))]


def cut_at_a_frame(chance: random.Random, log: bytes, since: int) -> bytes:
    return log[: since + FRAME_BYTES * chance.randrange((len(log) - since) // FRAME_BYTES)]


def zero_a_frame(chance: random.Random, log: bytes, since: int) -> bytes:
    at = since + FRAME_BYTES * chance.randrange((len(log) - since) // FRAME_BYTES)
    return log[:at] + bytes(FRAME_BYTES) + log[at + FRAME_BYTES :]


def zero_the_last_frame(chance: random.Random, log: bytes, since: int) -> bytes:
    return log[:-FRAME_BYTES] + bytes(FRAME_BYTES)


def flip_in_the_last_frame(chance: random.Random, log: bytes, since: int) -> bytes:
    return _flip(log, chance.randrange(len(log) - FRAME_BYTES, len(log)), chance)


def flip(chance: random.Random, log: bytes, since: int) -> bytes:
    return _flip(log, chance.randrange(since, len(log)), chance)


def lose_sectors(chance: random.Random, log: bytes, since: int) -> bytes:
    """The disk wrote some sectors of the commit, in an order of its own; at least one is missing."""
    sectors = range(since, len(log), SECTOR_BYTES)
    lost = set(chance.sample(sectors, chance.randrange(1, len(sectors)))) | {chance.choice(sectors)}
    torn = bytearray(log)
    for at in lost:
        end = min(at + SECTOR_BYTES, len(log))
        torn[at:end] = bytes(end - at)
    return bytes(torn) if torn != log else log[:since]


def garbage(chance: random.Random, log: bytes, since: int) -> bytes:
    """What the file system gave the file before it was written to."""
    return log[:since] + chance.randbytes(len(log) - since)


def older_frames(chance: random.Random, log: bytes, since: int) -> bytes:
    """A log that began anew over an old one: behind its end stand frames of before, with other salts."""
    stale = bytearray(log[HEADER_BYTES:])
    for at in range(0, len(stale) - FRAME_HEAD_BYTES, FRAME_BYTES):
        stale[at + 8 : at + 16] = chance.randbytes(8)
    return log[:since] + bytes(stale)


def _flip(log: bytes, at: int, chance: random.Random) -> bytes:
    return log[:at] + bytes((log[at] ^ 1 << chance.randrange(8),)) + log[at + 1 :]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "damage",
    [
        cut,
        cut_at_a_frame,
        zero_a_frame,
        zero_the_last_frame,
        flip_in_the_last_frame,
        flip,
        lose_sectors,
        garbage,
        older_frames,
    ],
)
async def test_a_commit_that_was_torn_is_as_if_it_had_not_been(
    vault: Vault, tmp_path: Path, damage: Damage, seed: int
) -> None:
    chance = random.Random(seed)
    commits = chance.randrange(1, COMMITS)
    since, end = vault.logs[commits - 1], vault.logs[commits]
    torn = damage(chance, vault.log[:end], since)
    assert torn[:since] == vault.log[:since]
    assert torn != vault.log[:end]
    await vault.check(tmp_path / "again", torn, commits)


async def test_a_log_that_lost_its_header_before_the_first_sync_is_none(vault: Vault, tmp_path: Path) -> None:
    await vault.check(tmp_path / "again", bytes(HEADER_BYTES) + vault.log[HEADER_BYTES : vault.logs[0]], 0)


@pytest.mark.parametrize("seed", range(3))
async def test_a_torn_checkpoint_loses_nothing(vault: Vault, tmp_path: Path, seed: int) -> None:
    """The pages that the log holds were being written to the file, some in half, some past its end."""
    chance = random.Random(seed)
    database = bytearray(vault.database)
    for at in range(HEADER_BYTES, len(vault.log), FRAME_BYTES):
        page = int.from_bytes(vault.log[at : at + 4])
        begin = (page - 1) * PAGE_BYTES
        if page == 1 or chance.random() < 0.5:
            continue  # it holds the header, which is looked at before SQLite does
        database.extend(bytes(max(0, begin + PAGE_BYTES - len(database))))
        half = chance.choice((begin, begin + PAGE_BYTES // 2))
        database[half : half + PAGE_BYTES // 2] = chance.randbytes(PAGE_BYTES // 2)
    await vault.check(tmp_path / "again", vault.log, COMMITS, bytes(database))
