"""What the golden vaults hold. A new format gets its own once, and it is never edited:

python -m tests.services.request_vault.golden
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from pathlib import Path

import msgspec

from bus import codec
from bus.clock import SystemClock
from bus.event import Event
from schemas.request_vault import NO_STREAM, CallAnnotated, CallStarred
from schemas.traffic_gateway import Body
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.links import Anchor, Gone
from services.request_vault.store import open_store
from services.request_vault.store.port import Scope, Selection, Store
from services.request_vault.store.sqlite.schema import FORMAT
from tests.conformance.vault.proofs import every_link, problems
from tests.services.request_vault.samples import BUCKET, captured, decision, event_of, order

FOLDER = Path(__file__).parents[2] / "golden" / "request_vault"
OTHER = "9abcdefghijk"


def path_of(format: int) -> Path:
    return FOLDER / f"vault-{format}.sqlite.gz"


def content(format: int) -> bytes:
    return gzip.decompress(path_of(format).read_bytes())


async def fill(store: Store) -> None:
    """What every format has."""
    await store.append("shop.thing-a", NO_STREAM, [decision("a1"), decision("a2")])
    await store.record([captured("call-1"), order(1), captured("call-2", status=None, error="dns-failed")])
    await store.append("shop.thing-b", NO_STREAM, [decision("b1")])
    await store.mark_published(2)


async def check(store: Store) -> None:
    records = (await store.read_log(Selection(), {}, 500)).records
    assert [(record.position, record.stream, record.version, record.prev) for record in records[:6]] == [
        ((0, 1), "shop.thing-a", 1, None),
        ((0, 2), "shop.thing-a", 2, 1),
        ((1, 1), "traffic.call-call-1", 1, None),
        ((1, 2), "shop.order-o-1", 1, None),
        ((1, 3), "traffic.call-call-2", 1, None),
        ((0, 3), "shop.thing-b", 1, 2),
    ]
    assert [record.event for record in records[:2]] == [decision("a1"), decision("a2")]
    assert codec.decode_event(records[2].event) == _as_written_then(captured("call-1"))
    assert [call.id for call in (await store.search_calls(CallQuery(BUCKET))).calls] == ["call-2", "call-1"]
    assert store.published_to() == 2
    assert (await store.record([order(1), _as_written_then(captured("call-1"))])).repeated == 2
    assert (await store.append("shop.thing-a", 0, [decision("a1")])).repeated
    assert await problems(store) == []


async def fill_kept(store: Store) -> None:
    """Since format 2: marks, what was erased, what was trimmed, bodies kept apart."""
    apart = Body(50_000, 50_000, "ab" * 32, None)
    await store.record([captured(f"kept-{n}", bucket=OTHER, response_body=apart) for n in range(6)])
    star = event_of(CallStarred("kept-1", OTHER), "star", key=OTHER, subject="kept-1")
    note = event_of(CallAnnotated("kept-4", OTHER, "odd", ("a", "b")), "note", key=OTHER, subject="kept-4")
    await store.append("vault.call-kept-1", NO_STREAM, [codec.encode_event(star)])
    await store.append("vault.call-kept-4", NO_STREAM, [codec.encode_event(note)])
    await store.erase(OTHER, ["kept-4"], by="token", why="asked to")
    await store.trim(Scope(OTHER, keep_records=3), 100)


async def check_kept(store: Store) -> None:
    found = await store.search_calls(CallQuery(OTHER))
    assert [(call.id, call.starred) for call in found.calls] == [
        ("kept-5", False), ("kept-3", False), ("kept-1", True),
    ]  # fmt: skip
    gone = [link async for link in every_link(store, 1) if isinstance(link, Anchor | Gone)]
    assert [
        (link.first, link.last) if isinstance(link, Anchor) else (link.number, link.why) for link in gone
    ] == [(4, 4), (6, 6), (8, "asked to")]
    assert (await store.read_stream("vault.call-kept-4", 0, 10)).head == 1
    assert (await store.record([captured(f"kept-{n}", bucket=OTHER) for n in range(6)])).recorded == 0


async def make(folder: Path) -> bytes:
    async with open_store("sqlite:", folder, SystemClock(), partitions=1, readers=1) as store:
        await fill(store)
        await fill_kept(store)
        await check(store)
        await check_kept(store)
    return (folder / "vault.db").read_bytes()


def main() -> None:
    target = path_of(FORMAT)
    if target.exists():
        raise SystemExit(f"{target} exists; it is never edited")
    with tempfile.TemporaryDirectory() as folder:
        target.write_bytes(gzip.compress(asyncio.run(make(Path(folder))), mtime=0))


if __name__ == "__main__":
    main()


def _as_written_then(call: Event) -> Event:
    """Without the fields that captured calls have got since."""
    data = msgspec.msgpack.decode(call.data)
    del data["redacted"]
    for part in (data["request"], data["response"] or {}):
        for name in ("decoded", "form"):
            part.get("body", {}).pop(name, None)
    return msgspec.structs.replace(call, data=msgspec.Raw(msgspec.msgpack.encode(data)))
