"""Bodies come in pieces, in any order, more than once; they are whole and right, or not there."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.clock import SystemClock
from bus.errors import Reject, Unavailable
from schemas.request_vault import BODY_PART_BYTES, BodyChunk
from services.request_vault.store.bodies import MAX_BODY_BYTES, Bodies, DirectoryBodies

BUCKET = "7xzcnsgbwox2"


def bodies_in(folder: Path, *, compress: bool = True) -> DirectoryBodies:
    return DirectoryBodies(folder, SystemClock(), compress=compress)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chunks_of(data: bytes, size: int, bucket: str = BUCKET) -> list[BodyChunk]:
    count = -(-len(data) // size)
    return [
        BodyChunk(bucket, sha256_of(data), n, count, len(data), data[n * size : (n + 1) * size])
        for n in range(count)
    ]


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def bodies(tmp_path: Path, request: pytest.FixtureRequest) -> DirectoryBodies:
    return bodies_in(tmp_path / "bodies", compress=request.param)


async def whole(bodies: Bodies, data: bytes, bucket: str = BUCKET) -> bool:
    """Whether the body is there, read part by part."""
    read = b""
    while (part := await bodies.read(bucket, sha256_of(data), len(read))) is not None:
        assert part.size_bytes == len(data)
        if not part.data:
            return read == data
        assert len(part.data) <= BODY_PART_BYTES
        read += part.data
    return False


def files_below(folder: Path) -> list[str]:
    found = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return sorted(str(file.relative_to(folder)) for file in found)


async def test_a_body_in_one_chunk_is_named_by_its_hash(bodies: Bodies, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(30_000)
    assert await bodies.put(chunks_of(data, 256 * 1024)) == [None]
    assert await whole(bodies, data)
    sha256 = sha256_of(data)
    assert files_below(tmp_path) == [f"bodies/{BUCKET}/{sha256[:2]}/{sha256}"]


@given(
    data=st.binary(min_size=1, max_size=400), size=st.integers(20, 60), seed=st.randoms(use_true_random=False)
)
def test_chunks_in_any_order_and_more_than_once_make_the_body(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int, seed: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("bodies")

    async def run() -> None:
        chunks = chunks_of(data, size)
        sent = chunks + seed.choices(chunks, k=3)
        seed.shuffle(sent)
        for chunk in sent:
            assert await bodies_in(folder).put([chunk]) == [None]
        assert await whole(bodies_in(folder), data)
        assert len(files_below(folder)) == 1

    asyncio.run(run())


async def test_a_body_is_not_there_before_its_last_chunk(bodies: Bodies) -> None:
    data = random.Random(1).randbytes(600_000)
    chunks = chunks_of(data, 256 * 1024)
    assert await bodies.put(chunks[:2]) == [None, None]
    assert not await whole(bodies, data)
    assert await bodies.missing(BUCKET, [sha256_of(data)]) == {sha256_of(data)}
    assert await bodies.totals() == (0, 0)
    assert await bodies.put(chunks[2:]) == [None]
    assert await whole(bodies, data)
    assert await bodies.missing(BUCKET, [sha256_of(data)]) == set()
    assert await bodies.totals() == (1, 600_000)


async def test_the_same_body_in_two_buckets_is_two_bodies(bodies: Bodies) -> None:
    await bodies.put(chunks_of(b"x", 10))
    assert await bodies.read("anotherbuckt", sha256_of(b"x"), 0) is None
    await bodies.put(chunks_of(b"x", 10, "anotherbuckt"))
    assert await whole(bodies, b"x", "anotherbuckt")
    assert await bodies.totals() == (2, 2)


async def test_a_body_that_is_there_is_not_counted_twice(bodies: Bodies) -> None:
    assert await bodies.totals() == (0, 0)
    await bodies.put(chunks_of(b"x" * 10, 3) * 2)
    assert await bodies.totals() == (1, 10)


async def test_a_wrong_chunk_is_refused_with_the_last_and_repaired_by_sending_it_again(
    bodies: Bodies,
) -> None:
    data = b"0123456789"
    right = chunks_of(data, 4)
    wrong = msgspec.structs.replace(right[1], data=b"4X67")
    assert await bodies.put([right[0], wrong]) == [None, None]
    (error,) = await bodies.put([right[2]])
    assert isinstance(error, Reject)
    assert f"body {sha256_of(data)} in bucket {BUCKET}" in str(error)
    assert not await whole(bodies, data)
    (again,) = await bodies.put([right[2]])
    assert isinstance(again, Reject)
    assert await bodies.put([right[1]]) == [None]
    assert await whole(bodies, data)


async def test_a_wrong_body_in_one_chunk_is_refused_and_the_others_kept(bodies: Bodies) -> None:
    wrong = msgspec.structs.replace(chunks_of(b"right", 10)[0], data=b"wrong")
    outcomes = await bodies.put([*chunks_of(b"a", 10), wrong, *chunks_of(b"b", 10)])
    assert [type(outcome) for outcome in outcomes] == [type(None), Reject, type(None)]
    assert await whole(bodies, b"a")
    assert await whole(bodies, b"b")
    assert not await whole(bodies, b"right")


@pytest.mark.parametrize(
    "fields",
    [
        {"bucket": "../../etc"},
        {"bucket": ""},
        {"bucket": "a/b"},
        {"sha256": "../x"},
        {"sha256": "A" * 64},
        {"index": 1},
        {"index": -1},
        {"count": 0},
        {"count": 7},
        {"size_bytes": 0},
        {"size_bytes": MAX_BODY_BYTES + 1},
        {"size_bytes": 4},
        {"data": b""},
        {"data": b"x" * (BODY_PART_BYTES + 1)},
    ],
)
async def test_a_chunk_that_cannot_be_is_refused(
    bodies: Bodies, tmp_path: Path, fields: dict[str, Any]
) -> None:
    chunk = msgspec.structs.replace(chunks_of(b"right", 10)[0], **fields)
    (outcome,) = await bodies.put([chunk])
    assert isinstance(outcome, Reject)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("bucket", "sha256"), [("..", "a" * 64), (BUCKET, "../../vault.db"), (BUCKET, "a" * 64), ("", "")]
)
async def test_what_is_no_body_is_not_read(bodies: Bodies, bucket: str, sha256: str) -> None:
    assert await bodies.read(bucket, sha256, 0) is None
    assert await bodies.missing(bucket, [sha256]) == {sha256}


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, b"body"), (3, b"y"), (4, b""), (10**18, b""), (-5, b"body")]
)
async def test_an_offset_anywhere_is_answered(bodies: Bodies, offset: int, expected: bytes) -> None:
    await bodies.put(chunks_of(b"body", 10))
    part = await bodies.read(BUCKET, sha256_of(b"body"), offset)
    assert part is not None
    assert (part.data, part.size_bytes) == (expected, 4)


async def test_a_disk_that_does_not_take_it_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "bodies").write_text("a file where the folder belongs")
    with pytest.raises(Unavailable, match="could not be written"):
        await bodies_in(tmp_path / "bodies").put(chunks_of(b"x", 10))


async def test_an_unfinished_file_is_no_body(bodies: Bodies, tmp_path: Path) -> None:
    """A crash may leave it behind."""
    sha256 = sha256_of(b"body")
    folder = tmp_path / "bodies" / BUCKET / sha256[:2]
    folder.mkdir(parents=True)
    (folder / f"{sha256}.tmp").write_bytes(b"bo")
    assert await bodies.read(BUCKET, sha256, 0) is None
    assert await bodies.totals() == (0, 0)
    await bodies.put(chunks_of(b"body", 10))
    assert await whole(bodies, b"body")
