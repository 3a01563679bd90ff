"""Verification finds what is damaged, misplaced or strange, and nothing else; copies are whole files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bus.errors import Unavailable
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
