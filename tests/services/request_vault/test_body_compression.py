"""A compressed body: smaller, readable anywhere for the price of a frame, and every flipped bit shows."""

from __future__ import annotations

import io
import random
from pathlib import Path
from unittest.mock import patch

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import Refused
from schemas.request_vault import BODY_PART_BYTES
from services.request_vault.store.bodies import MAX_BODY_BYTES, frames
from tests.services.request_vault.test_bodies import BUCKET, bodies_in, chunks_of, files_below, sha256_of

GOLDEN = (
    "28b52ffd24785d000020746561200100f1d4110173d5aa2d502a4d1824000000544c42319326ec77564115a2f86a8ec144f91876"
    "bf68039a997db852fb1bbbe236c9f0675e2a4d181100000018000000780000000100000000b1ea928f"
)
SHRINKS = b"".join(b'{"id": %d, "name": "tea", "price": 3}\n' % n for n in range(40_000))
RANDOM = random.Random(7).randbytes(700_000)


def stored(folder: Path, data: bytes) -> Path:
    """The only file of a body."""
    (name,) = [each for each in files_below(folder) if sha256_of(data) in each]
    return folder / name


async def test_a_body_that_shrinks_by_a_tenth_is_kept_compressed(tmp_path: Path) -> None:
    bodies = bodies_in(tmp_path)
    assert set(await bodies.put(chunks_of(SHRINKS, BODY_PART_BYTES))) == {None}
    file = stored(tmp_path, SHRINKS)
    assert file.name == f"{sha256_of(SHRINKS)}.zst"
    assert file.stat().st_size < len(SHRINKS) / 5
    assert await bodies.totals() == (1, file.stat().st_size)


@pytest.mark.parametrize(("random_bytes", "kept"), [(80_000, ".zst"), (97_000, "")])
async def test_the_tenth_counts(tmp_path: Path, random_bytes: int, kept: str) -> None:
    data = RANDOM[:random_bytes] + bytes(100_000 - random_bytes)
    await bodies_in(tmp_path).put(chunks_of(data, BODY_PART_BYTES))
    assert stored(tmp_path, data).suffix == kept


async def test_other_tools_read_it(tmp_path: Path) -> None:
    """`zstd -d` does the same: the frames one after another, the skippable ones passed over."""
    await bodies_in(tmp_path).put(chunks_of(SHRINKS, BODY_PART_BYTES))
    with stored(tmp_path, SHRINKS).open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        assert reader.read() == SHRINKS


async def test_a_part_costs_a_frame(tmp_path: Path) -> None:
    """Two where it begins within one."""
    bodies = bodies_in(tmp_path)
    await bodies.put(chunks_of(SHRINKS, BODY_PART_BYTES))
    for offset, most in ((0, 1), (3 * BODY_PART_BYTES, 1), (BODY_PART_BYTES + 5, 2), (len(SHRINKS), 0)):
        with patch.object(frames, "_plain", wraps=frames._plain) as decompressed:
            part = await bodies.read(BUCKET, sha256_of(SHRINKS), offset)
        assert part is not None
        assert (part.data, part.size_bytes) == (SHRINKS[offset : offset + BODY_PART_BYTES], len(SHRINKS))
        assert decompressed.call_count == most


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
async def test_a_body_put_again_under_the_other_setting_is_the_same_body(
    tmp_path: Path, first: bool, second: bool
) -> None:
    chunks = chunks_of(SHRINKS, BODY_PART_BYTES)
    await bodies_in(tmp_path, compress=first).put(chunks[:3])
    await bodies_in(tmp_path, compress=second).put(chunks)
    await bodies_in(tmp_path, compress=first).put(chunks)
    other = bodies_in(tmp_path, compress=second)
    assert set(await other.put(chunks)) == {None}
    assert len(files_below(tmp_path)) == 1
    assert (await other.totals())[0] == 1


async def test_a_body_at_both_places_is_one_body(tmp_path: Path) -> None:
    """Two instances with other settings that put it at the same moment leave it so."""
    for name, compress in (("a", True), ("b", False)):
        await bodies_in(tmp_path / name, compress=compress).put(chunks_of(SHRINKS, BODY_PART_BYTES))
    stored(tmp_path / "a", SHRINKS).rename(stored(tmp_path / "b", SHRINKS).with_suffix(".zst"))
    both = bodies_in(tmp_path / "b")
    assert (await both.totals())[0] == 1
    assert [name async for name in both.names()] == [(BUCKET, sha256_of(SHRINKS))]
    assert [damage async for damage in both.verify()] == []
    assert (await both.delete(BUCKET, [sha256_of(SHRINKS)])).bodies == 1
    assert files_below(tmp_path / "b") == []


async def test_a_damaged_body_is_refused_by_name(tmp_path: Path) -> None:
    bodies = bodies_in(tmp_path)
    await bodies.put(chunks_of(SHRINKS, BODY_PART_BYTES))
    file = stored(tmp_path, SHRINKS)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Refused, match=sha256_of(SHRINKS)) as refused:
        await bodies.read(BUCKET, sha256_of(SHRINKS), 0)
    assert refused.value.reason == "body-damaged"


def whole(data: bytes) -> bytes:
    parts = frames.compressed([data], 10 * len(data) + 1000)
    assert parts is not None
    return b"".join(parts)


def test_every_flipped_bit_shows() -> None:
    data = SHRINKS[:600]
    written = whole(data)
    for bit in range(8 * len(written)):
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(frames.FrameDamaged):
            frames.check(io.BytesIO(flipped), MAX_BODY_BYTES, lambda plain: None)


def test_every_cut_shows() -> None:
    written = whole(SHRINKS[:600])
    for size in range(len(written)):
        with pytest.raises(frames.FrameDamaged):
            frames.check(io.BytesIO(written[:size]), MAX_BODY_BYTES, lambda plain: None)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 400_000), min_size=1, max_size=4),
    offset=st.integers(0, 1_700_000),
    size=st.integers(0, 600_000),
)
def test_any_range_is_that_of_the_plain_bytes(sizes: list[int], offset: int, size: int) -> None:
    data = SHRINKS[: sum(sizes)]
    contents = [data[sum(sizes[:n]) : sum(sizes[: n + 1])] for n in range(len(sizes))]
    parts = frames.compressed(contents, MAX_BODY_BYTES)
    assert parts is not None
    file = io.BytesIO(b"".join(parts))
    index = frames.read_index(file, MAX_BODY_BYTES)
    assert frames.plain_bytes(index) == len(data)
    assert frames.read_plain(file, index, offset, size) == data[offset : offset + size]


def test_a_file_of_this_layout_is_read_for_ever() -> None:
    """What is on people's disks is never written anew: this is version 1."""
    written = bytes.fromhex(GOLDEN)
    seen: list[bytes] = []
    frames.check(io.BytesIO(written), MAX_BODY_BYTES, seen.append)
    assert b"".join(seen) == b"tea " * 30
