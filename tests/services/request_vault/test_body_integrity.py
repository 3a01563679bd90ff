"""Verification finds what is damaged, misplaced or strange, and nothing else; copies are whole files."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.errors import Refused, Unavailable
from services.request_vault.store.bodies import BodyName, Copied, DirectoryBodies, files
from tests.services.request_vault.test_bodies import (
    BUCKET,
    bodies_in,
    chunks_of,
    files_below,
    sha256_of,
    whole,
)

SHRINKS = b"a cup of tea\n" * 30_000
RANDOM = random.Random(3).randbytes(300_000)
CONTENTS = (SHRINKS, RANDOM, b"small")


@pytest.fixture
async def bodies(tmp_path: Path) -> DirectoryBodies:
    bodies = bodies_in(tmp_path / "bodies")
    for data in CONTENTS:
        await bodies.put(chunks_of(data, 100_000))
    await bodies.put(chunks_of(b"unfinished", 4)[:2])
    return bodies


def file_of(folder: Path, data: bytes) -> Path:
    (found,) = folder.rglob(f"{sha256_of(data)}*")
    return found


async def damages(bodies: DirectoryBodies) -> list[tuple[BodyName | None, str]]:
    return [(damage.name, damage.reason) async for damage in bodies.verify()]


async def test_what_was_put_is_not_damaged(bodies: DirectoryBodies, tmp_path: Path) -> None:
    (tmp_path / "bodies" / BUCKET / "ab").mkdir(exist_ok=True)
    (tmp_path / "bodies" / BUCKET / "ab" / f"{'ab' * 32}.zst.x1_.tmp").write_bytes(b"cut off")
    assert await damages(bodies) == []


@pytest.mark.parametrize("data", CONTENTS, ids=["compressed", "plain", "small"])
async def test_a_flipped_bit_is_found(bodies: DirectoryBodies, tmp_path: Path, data: bytes) -> None:
    file = file_of(tmp_path, data)
    content = bytearray(file.read_bytes())
    content[random.Random(1).randrange(len(content))] ^= 16
    file.write_bytes(content)
    ((name, _),) = await damages(bodies)
    assert name == BodyName(BUCKET, sha256_of(data))


async def test_a_body_under_another_name_is_found(bodies: DirectoryBodies, tmp_path: Path) -> None:
    file = file_of(tmp_path, SHRINKS)
    file.rename(file.with_name(file.name[:2] + "0" * 62 + ".zst"))
    ((name, reason),) = await damages(bodies)
    assert name == BodyName(BUCKET, file.name[:2] + "0" * 62)
    assert sha256_of(SHRINKS) in reason


@pytest.mark.parametrize("data", CONTENTS, ids=["compressed", "plain", "small"])
async def test_a_torn_body_is_found(bodies: DirectoryBodies, tmp_path: Path, data: bytes) -> None:
    os.truncate(file_of(tmp_path, data), 0)
    ((name, _),) = await damages(bodies)
    assert name == BodyName(BUCKET, sha256_of(data))


@pytest.mark.parametrize(
    "place",
    [
        "notes.txt",
        "a b",
        f"{BUCKET}/notes.txt",
        f"{BUCKET}/zz/{'0' * 64}",
        f"{BUCKET}/00/notes.txt",
        f"{BUCKET}/00/{'1' * 64}",
        f"{BUCKET}/00/{'0' * 64}.gz",
        f"{BUCKET}/00/{'0' * 64}.10-3/x",
        "afilewhereabucketbelongs",
    ],
)
async def test_a_stranger_is_found(bodies: DirectoryBodies, tmp_path: Path, place: str) -> None:
    (tmp_path / "bodies" / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "bodies" / place).write_bytes(b"")
    ((name, reason),) = await damages(bodies)
    assert name is None
    assert "belong" in reason


async def test_a_link_is_no_body(bodies: DirectoryBodies, tmp_path: Path) -> None:
    file = file_of(tmp_path, RANDOM)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert len(await damages(bodies)) == 1


async def test_a_copy_is_whole_and_of_its_own(bodies: DirectoryBodies, tmp_path: Path) -> None:
    await bodies.put(chunks_of(b"small", 10, "anotherbuckt"))
    copied = await bodies.copy_to(tmp_path / "copy", bodies.names())
    copy = bodies_in(tmp_path / "copy")
    assert (copied.bodies, copied.stored_bytes) == await bodies.totals() == await copy.totals()
    assert await damages(copy) == []
    for data in CONTENTS:
        assert await whole(copy, data)
        assert file_of(tmp_path / "copy" / BUCKET, data).stat().st_nlink == 1
    assert [name async for name in copy.names()] == [name async for name in bodies.names()]
    assert await bodies.copy_to(tmp_path / "copy", bodies.names()) == copied


async def test_a_copy_tells_what_was_not_there(bodies: DirectoryBodies, tmp_path: Path) -> None:
    names = [BodyName(BUCKET, "0" * 64), BodyName(BUCKET, sha256_of(b"small")), BodyName("..", "x")]
    copied = await bodies.copy_to(tmp_path / "copy", names)
    assert copied == Copied(1, 5, (names[0], names[2]))


async def test_a_copy_that_fails_leaves_no_half_file(
    bodies: DirectoryBodies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(Unavailable, match=f"copied below {tmp_path / 'copy'}: No space"):
        await bodies.copy_to(tmp_path / "copy", bodies.names())
    assert files_below(tmp_path / "copy") == []


def flip(file: Path, at: int) -> bytes:
    content = bytearray(file.read_bytes())
    content[at] ^= 16
    file.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("at", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("data", CONTENTS, ids=["compressed", "plain", "small"])
async def test_whoever_reads_finds_damage_anywhere_before_a_byte_is_given_out(
    bodies: DirectoryBodies, tmp_path: Path, data: bytes, at: int
) -> None:
    file = file_of(tmp_path, data)
    flip(file, at)
    for _ in range(2):
        with pytest.raises(Refused, match=sha256_of(data)) as refused:
            await bodies.read(BUCKET, sha256_of(data), 0)
        assert refused.value.reason == "body-damaged"
    assert file.exists()  # it was only looked at


@pytest.mark.parametrize("data", CONTENTS, ids=["compressed", "plain", "small"])
async def test_a_damaged_body_is_set_aside_and_put_anew(
    bodies: DirectoryBodies, tmp_path: Path, data: bytes
) -> None:
    mending = DirectoryBodies(tmp_path / "bodies", SystemClock(), mend=True)
    file = file_of(tmp_path, data)
    damaged = flip(file, len(file.read_bytes()) // 2)
    before = await mending.totals()
    await mending.put(chunks_of(data, 100_000))
    assert file.read_bytes() == damaged  # put does not look: it would cost each repeated body a read
    for _ in range(2):
        with pytest.raises(Refused, match="is damaged on disk"):
            await mending.read(BUCKET, sha256_of(data), 0)
    aside = file.with_name(f"{file.name}.damaged")
    assert not file.exists()
    assert aside.read_bytes() == damaged
    assert await mending.totals() == (before[0] - 1, before[1] - len(damaged))
    assert await mending.missing(BUCKET, [sha256_of(data)]) == {sha256_of(data)}
    ((name, reason),) = await damages(mending)
    assert name == BodyName(BUCKET, sha256_of(data))
    assert "set aside" in reason

    async def all_named(bucket: str, hashes: Sequence[str]) -> set[str]:
        return set(hashes)

    later = datetime.now(UTC) + timedelta(days=30)
    await mending.sweep(all_named, 60.0, later)
    assert aside.exists()  # it is all there is of a body that a call names

    await mending.put(chunks_of(data, 100_000))
    assert await whole(mending, data)
    assert await damages(mending) == []
    assert await mending.totals() == before
    await mending.sweep(all_named, 60.0, datetime.now(UTC))
    assert aside.exists()
    swept = await mending.sweep(all_named, 60.0, later)
    assert (swept.bodies, swept.leftover_bytes) == (0, len(damaged))
    assert not aside.exists()
    assert await whole(mending, data)


async def test_one_form_stands_in_for_the_other(tmp_path: Path) -> None:
    for name, compress in (("a", True), ("b", False)):
        await bodies_in(tmp_path / name, compress=compress).put(chunks_of(SHRINKS, 100_000))
    compressed, plain = file_of(tmp_path / "a", SHRINKS), file_of(tmp_path / "b", SHRINKS)
    compressed.rename(plain.with_name(compressed.name))
    flip(plain, -1)
    assert await whole(DirectoryBodies(tmp_path / "b", SystemClock(), mend=True), SHRINKS)
    assert plain.with_name(f"{plain.name}.damaged").exists()


async def test_what_was_set_aside_goes_with_its_body(bodies: DirectoryBodies, tmp_path: Path) -> None:
    mending = DirectoryBodies(tmp_path / "bodies", SystemClock(), mend=True)
    flip(file_of(tmp_path, RANDOM), 0)
    with pytest.raises(Refused, match="is damaged on disk"):
        await mending.read(BUCKET, sha256_of(RANDOM), 0)
    await mending.delete(BUCKET, [sha256_of(RANDOM)])
    assert [name for name in files_below(tmp_path) if sha256_of(RANDOM) in name] == []
    assert await mending.read(BUCKET, sha256_of(RANDOM), 0) is None
