"""A vault with its text index, and calls of words, for the tests of searching by words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bus.event import Event
from schemas.request_vault import BodyChunk
from schemas.traffic_gateway import Body, CallCaptured, CapturedRequest, CapturedResponse
from services.calls.query import Term, parse
from services.request_vault.domain.calls import CallQuery
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Store
from services.request_vault.worker.indexing import Indexing
from tests.conformance.vault.vaults import Clock
from tests.services.request_vault.samples import BUCKET, START, call, call_event


class Library:
    """A vault whose calls are indexed when it is told to."""

    def __init__(self, store: Store, bodies: DirectoryBodies, clock: Clock) -> None:
        self.store = store
        self.bodies = bodies
        self.clock = clock
        self.indexing = Indexing(store, bodies, clock)

    async def record(self, *events: Event) -> None:
        ingested = await self.store.record(events)
        assert ingested.recorded == len(events)

    async def index(self) -> None:
        """All that can be indexed without waiting."""
        while await self.indexing.step():
            pass

    async def keep(self, bucket: str, data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        parts = [data[at : at + 262_144] for at in range(0, len(data), 262_144)]
        chunks = [BodyChunk(bucket, sha256, at, len(parts), len(data), part) for at, part in enumerate(parts)]
        assert await self.bodies.put(chunks) == [None] * len(parts)

    async def found(self, query: str, *, bucket: str = BUCKET, limit: int = 50) -> str:
        """The ids of the calls that are found, in order, through all pages."""
        return await self.matching(parse(query, START), bucket=bucket, limit=limit)

    async def matching(self, where: Term, *, bucket: str = BUCKET, limit: int = 50) -> str:
        ids: list[str] = []
        before = None
        more = True
        while more:
            page = await self.store.search_calls(CallQuery(bucket, where=where, limit=limit), before=before)
            ids += [each.id for each in page.calls]
            more, before = page.more, page.reached
        return "".join(ids)


def inline(text: str | bytes) -> Body:
    data = text if isinstance(text, bytes) else text.encode()
    return Body(len(data), len(data), hashlib.sha256(data).hexdigest(), data)


def apart(data: bytes) -> Body:
    return Body(len(data), len(data), hashlib.sha256(data).hexdigest(), None)


def made(
    id: str,
    *,
    url: str = "https://api.example.com/",
    headers: Sequence[tuple[str, str]] = (),
    request: Body | None = None,
    response: Body | None = None,
    answered: Sequence[tuple[str, str]] = (("Content-Type", "text/plain"),),
    bucket: str = BUCKET,
) -> Event:
    whole = call(id, bucket=bucket)
    return call_event(
        CallCaptured(
            **{name: getattr(whole, name) for name in whole.__struct_fields__}
            | {
                "request": CapturedRequest("GET", url, "1.1", tuple(headers), request or Body()),
                "response": CapturedResponse(200, "", "1.1", tuple(answered), response or Body()),
            }
        )
    )
