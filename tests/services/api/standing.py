"""What the API stands on in tests: small services that answer over a real bus in memory, and who may do what.

The vault here keeps calls in a list. It searches as the contract says, so that the API can be tested against
the contract alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from bus import Bus, Delivery, Refused, Router, SystemClock, Unavailable, connect
from bus.ids import Ids
from schemas.identity import Bucket, BucketList, DeleteBucket, GetBucket, ListBuckets, PutBucket
from schemas.operation import SCOPES, Operation, Scope
from schemas.request_vault import (
    BODY_PART_BYTES,
    BodyPart,
    CallPage,
    CallRecord,
    CallsRecorded,
    CallSummary,
    EventList,
    EventTree,
    FacetCalls,
    Facets,
    FacetValue,
    GetCall,
    ReadBody,
    ReadEvents,
    SearchCalls,
    TraceEvent,
)
from schemas.traffic_gateway import Body, CallCaptured
from services.api.config import Config
from services.api.edge import make_edge
from services.api.edge.asking import Asks
from services.api.edge.live import Wakes
from services.api.edge.uses import Uses
from services.api.service import contracts
from services.api.store import MemoryRepeats, Repeats
from services.calls.query import QueryInvalid, parse
from services.chassis.access import Grant
from services.chassis.host import Shared
from services.chassis.web import listen
from services.request_vault.store.bodies import Bodies

OURS, OTHER, FOREIGN = "ours00000001", "ours00000002", "foreign00001"
ALL_SCOPES: tuple[Scope, ...] = tuple(sorted(SCOPES - {"installation"}))
UNLIMITED = Config(rate_per_s=1e6, rate_burst=1_000_000, public_rate_per_s=1e6, public_rate_burst=1_000_000)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def bucket(key: str, team: str = "us") -> Bucket:
    return Bucket(key, f"bucket {key}", team, AT, key, version=1, body_cap_bytes=1024)


class Doors:
    """Who may do what. `stale`: what is known is too old to be trusted."""

    def __init__(self) -> None:
        self.buckets = {OURS: bucket(OURS), OTHER: bucket(OTHER), FOREIGN: bucket(FOREIGN, "them")}
        self.grants = {
            "tl_all": caller("all"),
            "tl_limited": caller("limited", buckets=(OURS,)),
            "tl_blind": caller("blind", scopes=()),
        }
        self.stale = False
        self.unseen: dict[str, int] = {}  # key -> how often it is looked for before it is known here

    async def grant(self, secret: str) -> Grant | None:
        if self.stale:
            raise Unavailable("what is known of tokens is 400 s old")
        return self.grants.get(secret)

    async def bucket(self, key: str) -> Bucket | None:
        if self.unseen.get(key, 0) > 0:
            self.unseen[key] -= 1
            return None
        return self.buckets.get(key)

    def keys_of(self, team: str) -> tuple[str, ...]:
        return tuple(bucket.key for bucket in self.buckets.values() if bucket.team == team)


def caller(
    id: str, *, scopes: tuple[Scope, ...] = ALL_SCOPES, buckets: tuple[str, ...] = (), team: str = "us"
) -> Grant:
    return Grant("token", id, id, team, frozenset(scopes), frozenset(buckets))


class Vault:
    """Answers the vault's asks from a list."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.calls: list[CallCaptured] = []
        self.bodies: dict[str, bytes] = {}
        self.stored: Bodies | None = None
        """Real ones, on a disk that can be damaged, instead of those in memory."""
        self.searches: list[SearchCalls] = []
        self.read: list[ReadEvents | TraceEvent] = []
        self.searched = asyncio.Event()
        self.down = False
        self.router = Router("request_vault")
        self.router.answers(SearchCalls, self.answer_search_calls)
        self.router.answers(FacetCalls, self.answer_facet_calls)
        self.router.answers(GetCall, self.answer_get_call)
        self.router.answers(ReadBody, self.answer_read_body)
        self.router.answers(ReadEvents, self.answer_read_events)
        self.router.answers(TraceEvent, self.answer_trace_event)

    def keep(self, *calls: CallCaptured, bodies: tuple[bytes, ...] = ()) -> None:
        self.calls += calls
        self.bodies |= {hashlib.sha256(data).hexdigest(): data for data in bodies}

    async def record(self, call: CallCaptured) -> None:
        """Keep it and tell, as the vault does once a call is readable."""
        self.keep(call)
        position = (0, len(self.calls))
        await self._bus.signal(CallsRecorded(call.bucket, position, 1), key=call.bucket)

    async def answer_search_calls(self, ask: SearchCalls, delivery: Delivery) -> CallPage:
        if self.down:
            raise Unavailable("the disk is full")
        self.searches.append(ask)
        self.searched.set()
        if not 1 <= ask.limit <= 500:
            raise Refused("query-invalid", f"limit is {ask.limit}, not 1 to 500")
        try:
            parse(ask.query, AT)
        except QueryInvalid as error:
            raise Refused("query-invalid", f"q, {error}") from error
        start = len(self.calls)
        after = None if ask.after is None else ask.after[1]
        if ask.cursor is not None:
            if not ask.cursor.startswith(f"{ask.bucket}."):
                raise Refused("cursor-invalid", "the cursor was made for another list")
            _, direction, number = ask.cursor.split(".")
            start = int(number)
            if direction == "after":
                after = start
        if after is not None:
            behind = [number for number in range(after, len(self.calls)) if self._matches(ask, number)]
            page = behind[: ask.limit]
            more = f"{ask.bucket}.after.{page[-1] + 1}" if len(behind) > len(page) else None
            return CallPage(tuple(map(self._summary, page)), more)
        found = [number for number in reversed(range(start)) if self._matches(ask, number)]
        page = found[: ask.limit]
        more = f"{ask.bucket}.before.{page[-1]}" if len(found) > len(page) else None
        return CallPage(tuple(map(self._summary, page)), more)

    async def answer_facet_calls(self, ask: FacetCalls, delivery: Delivery) -> Facets:
        if not 1 <= ask.limit <= 100:
            raise Refused("query-invalid", f"limit is {ask.limit}, not 1 to 100")
        page = await self.answer_search_calls(
            SearchCalls(ask.bucket, ask.query, since=ask.since, before=ask.before, limit=500), delivery
        )
        hosts = Counter(call.host for call in page.calls)
        values = tuple(FacetValue(host, count) for host, count in hosts.most_common(ask.limit))
        return Facets(values, (), (), (), len(page.calls), page.next_cursor is None)

    async def answer_get_call(self, ask: GetCall, delivery: Delivery) -> CallRecord:
        for number, call in enumerate(self.calls):
            if call.id == ask.id and ask.bucket in (None, call.bucket):
                missing: tuple[Literal["request", "response"], ...] = ()
                return CallRecord(call, (0, number + 1), AT, f"event-{call.id}", missing)
        raise Refused("call-unknown", f"there is no call {ask.id}")

    async def answer_read_body(self, ask: ReadBody, delivery: Delivery) -> BodyPart:
        if self.stored is not None:
            part = await self.stored.read(ask.bucket, ask.sha256, ask.offset)
            if part is None:
                raise Refused("body-unknown", "no such body")
            return part
        data = self.bodies.get(ask.sha256)
        if data is None:
            raise Refused("body-unknown", "no such body")
        return BodyPart(data[ask.offset : ask.offset + BODY_PART_BYTES], len(data))

    async def answer_read_events(self, ask: ReadEvents, delivery: Delivery) -> EventList:
        self.read.append(ask)
        return EventList((), next_cursor=None, tail_cursor="")

    async def answer_trace_event(self, ask: TraceEvent, delivery: Delivery) -> EventTree:
        self.read.append(ask)
        raise Refused("event-unknown", f"the log has no event and no call {ask.id[:80]!r}")

    def _matches(self, ask: SearchCalls, number: int) -> bool:
        call = self.calls[number]
        status = str(call.response.status) if call.response else ""
        return call.bucket == ask.bucket and all(
            (
                ask.method is None or call.request.method == ask.method.upper(),
                ask.path is None or urlsplit(call.request.url).path.startswith(ask.path),
                ask.status is None or status == ask.status or f"{status[:1]}xx" == ask.status,
                ask.error is None or (call.error is not None) == ask.error,
                ask.since is None or call.started_at >= ask.since,
            )
        )

    def _summary(self, number: int) -> CallSummary:
        call = self.calls[number]
        parts = urlsplit(call.request.url)
        answered = call.response
        return CallSummary(
            call.id,
            call.bucket,
            call.started_at,
            call.request.method,
            parts.scheme,
            parts.netloc,
            parts.path,
            parts.query,
            answered.status if answered else None,
            call.duration_ms,
            call.request.body.size_bytes,
            (answered.body if answered else Body()).size_bytes,
            None,
            call.error.slug if call.error else None,
            call.origin,
            (0, number + 1),
        )


class Identity:
    """Answers identity's asks; remembers what it was asked."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self.asked: list[Any] = []
        self.router = Router("identity")
        self.router.answers(ListBuckets, self.answer_list_buckets)
        self.router.answers(GetBucket, self.answer_get_bucket)
        self.router.answers(PutBucket, self.answer_put_bucket)
        self.router.answers(DeleteBucket, self.answer_get_bucket)

    async def answer_list_buckets(self, ask: ListBuckets, delivery: Delivery) -> BucketList:
        allowed = ask.allowed_buckets or self._doors.buckets
        found = [b for b in self._doors.buckets.values() if b.team == ask.team and b.key in allowed]
        return BucketList(tuple(found))

    async def answer_get_bucket(self, ask: GetBucket | DeleteBucket, delivery: Delivery) -> Bucket:
        self.asked.append(ask)
        found = self._doors.buckets.get(ask.key)
        if isinstance(ask, GetBucket) and ask.allowed_buckets and ask.key not in ask.allowed_buckets:
            found = None
        if found is None or (isinstance(ask, GetBucket) and found.team != ask.team):
            raise Refused("bucket-unknown", f"there is no bucket {ask.key[:40]!r}")
        return found

    async def answer_put_bucket(self, ask: PutBucket, delivery: Delivery) -> Bucket:
        self.asked.append(ask)
        if not ask.name:
            raise Refused("bucket-invalid", "a bucket has a name")
        made = msgspec.structs.replace(bucket(ask.key, ask.team), name=ask.name)
        self._doors.buckets[ask.key] = made
        return made


class Standing(msgspec.Struct):
    """The API, running, and what it stands on. `client` carries the token that may do everything."""

    bus: Bus
    vault: Vault
    identity: Identity
    doors: Doors
    wakes: Wakes
    client: aiohttp.ClientSession
    stop: AsyncExitStack


@asynccontextmanager
async def standing(
    config: Config | None = None,
    *,
    operations: dict[str, tuple[Operation, ...]] | None = None,
    routers: tuple[Router, ...] = (),
    without_vault: bool = False,
    shared: Shared | None = None,
    asks: Asks | None = None,
    repeats: Repeats | None = None,
) -> AsyncIterator[Standing]:
    """Everything up. `stop`: leaving it stops the API first."""
    clock, doors, wakes = SystemClock(), Doors(), Wakes()
    live = Router("api")
    live.on(CallsRecorded, wakes.on_calls_recorded)
    async with connect("embedded:", source="api") as bus:
        vault, identity = Vault(bus), Identity(doors)
        served = [live, identity.router, *routers, *([] if without_vault else [vault.router])]
        edge = make_edge(
            {**contracts(), **(operations or {})},
            bus=asks or bus,
            access=doors,
            wakes=wakes,
            uses=Uses(bus, clock),
            shared=shared or Shared.alone(clock),
            repeats=repeats or MemoryRepeats(clock),
            clock=clock,
            ids=Ids(clock),
            config=config or UNLIMITED,
            version="0.0.1",
        )
        async with bus.serve(*served), AsyncExitStack() as stop:
            port = await stop.enter_async_context(listen(edge, "127.0.0.1", 0, False, drain_s=1))
            client = aiohttp.ClientSession(
                f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer tl_all"}
            )
            async with client:
                yield Standing(bus, vault, identity, doors, wakes, client, stop)
