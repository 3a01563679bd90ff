"""Vaults with something of everything in them, and the command line over them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import random
from collections.abc import Coroutine
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

from bus import codec
from bus.event import Event
from schemas.identity import BucketCreated
from schemas.request_vault import BodyChunk, CallStarred, StreamWrite
from schemas.traffic_gateway import Body
from services.cli import main
from services.request_vault.commands.proving import walk
from services.request_vault.domain.links import End, Link
from services.request_vault.store import open_archive, open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Archive, Scope, Store
from tests.conformance.vault.vaults import Clock
from tests.services.request_vault.samples import BUCKET, call, call_event, event_of, order

T = TypeVar("T")

CALLS = 40
ORDERS = 2300
PIECE = 256 * 1024


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class AVault:
    """A vault in a data folder of its own, which nobody has open."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.folder = data_dir / "request_vault"
        self.database = self.folder / "vault.db"
        self.clock = Clock()
        self.bodies = DirectoryBodies(self.folder / "bodies", self.clock)

    def run(self, *arguments: str, **environment: str) -> Ended:
        """A verb of `trunkline vault` in this process."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        own |= {"TRUNKLINE_DATA_DIR": str(self.data_dir)} | environment
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with mock.patch.dict(os.environ, own, clear=True), redirect_stdout(out), redirect_stderr(err):
            code = main(["vault", *arguments])
        told = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]
        return Ended(code, *told)

    def ok(self, *arguments: str, **environment: str) -> Any:
        done = self.run(*arguments, "--json", **environment)
        assert done.code == 0, done
        return done.json

    def refused(self, *arguments: str, slug: str, **environment: str) -> str:
        """What it said."""
        done = self.run(*arguments, "--json", **environment)
        assert done.code not in (0, 1, 70), done
        told = json.loads(done.err.splitlines()[-1])["error"]
        assert told["slug"] == slug, told
        return str(told["message"])

    def opened(self, *, partitions: int = 2) -> Any:
        return open_store("sqlite:", self.folder, self.clock, partitions=partitions, readers=1)

    def contents(self) -> tuple[list[End], list[Link]]:
        """Where the log ends, and all it consists of."""
        return asyncio.run(self._contents())

    async def _contents(self) -> tuple[list[End], list[Link]]:
        async with open_archive("sqlite:", self.folder) as archive:
            ends = list(await archive.ends())
            return ends, await links_of(archive)

    def body_files(self) -> list[Path]:
        return sorted(path for path in self.bodies._layout.folder.rglob("*") if len(path.stem) == 64)


async def links_of(archive: Archive) -> list[Link]:
    return [link for end in await archive.ends() async for page in walk(archive, end) for link in page]


def filled(data_dir: Path, *, orders: int = ORDERS, gone: bool = True) -> AVault:
    """With calls, their bodies, marks, decisions, and many orders; some trimmed, some erased."""
    made = AVault(data_dir)
    asyncio.run(_fill(made, orders, gone))
    return made


async def _fill(made: AVault, orders: int, gone: bool) -> None:
    async with made.opened() as store:
        bucket = BucketCreated(BUCKET, "shop", "default")
        await decide(store, f"identity.bucket-{BUCKET}", event_of(bucket, "made", key=BUCKET, subject=BUCKET))
        await store.record([order(number, key="orders") for number in range(orders)])
        await store.record([await a_call(made, number) for number in range(CALLS)])
        starred = CallStarred("call-1", BUCKET)
        await decide(store, "vault.call-call-1", event_of(starred, "starred", key=BUCKET, subject="call-1"))
        await store.mark_published(2)
        if gone:
            for _ in range(100):
                if not (await store.trim(Scope("orders", keep_records=orders - 1150), 200)).more:
                    break
            erased = await store.erase(BUCKET, ["call-7", "call-8"], by="token-1", why="asked for")
            await made.bodies.delete(BUCKET, [name.sha256 for name in erased.bodies])


async def a_call(made: AVault, number: int) -> Event:
    """With a body kept apart, of one piece or two."""
    size = PIECE * 3 // 2 if number % 10 == 3 else 20_000
    content = random.Random(number).randbytes(size)
    sha256 = hashlib.sha256(content).hexdigest()
    pieces = [content[at : at + PIECE] for at in range(0, size, PIECE)]
    chunks = [
        BodyChunk(BUCKET, sha256, index, len(pieces), size, piece) for index, piece in enumerate(pieces)
    ]
    assert await made.bodies.put(chunks) == [None] * len(chunks)
    return call_event(call(f"call-{number}", response_body=Body(size, size, sha256)))


async def decide(store: Store, stream: str, *events: Event) -> None:
    await store.append_all([StreamWrite(stream, 0, tuple(map(codec.encode_event, events)))])


def beside(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)
