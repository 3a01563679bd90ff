"""Live calls as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A call appears when it is readable. The vault's signal only wakes a stream; what it sends comes from a search
behind the last position, so that a lost signal costs at most a heartbeat and a reconnecting client
(`Last-Event-ID`) misses nothing and gets nothing twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from bus.clock import Clock
from bus.router import Delivery
from schemas.operation import Operation
from schemas.request_vault import CallPage, CallsRecorded, Position, SearchCalls
from services.api.domain.binding import Binding, Invalid
from services.api.edge.asking import Asker
from services.api.edge.bodies import VAULT
from services.api.edge.failing import from_invalid
from services.api.edge.gate import Gate
from services.api.edge.problems import PARAMETER_INVALID
from services.chassis.web import CLOSING, Problem

OPERATION = Operation(
    SearchCalls,
    "GET",
    "/buckets/{bucket}/live",
    "calls:read",
    "Follow a bucket's calls as server-sent events",
    bucket="bucket",
)
PAGE = 100
RETRY_MS = 2000
CHECK_EVERY_S = 1.0  # whether the caller may still see this
AWAY_S = 1.0  # between two tries while the vault does not answer


class Watch:
    """One stream's ear for its bucket. heard: the newest position that was told; woken: something is to be
    looked at."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.heard: Position | None = None


class Wakes:
    """Passes the vault's signals on to the streams of this process."""

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    @property
    def watched(self) -> int:
        """How many buckets somebody follows here."""
        return len(self._watches)

    @contextmanager
    def watch(self, bucket: str) -> Iterator[Watch]:
        watch = Watch()
        self._watches[bucket].add(watch)
        try:
            yield watch
        finally:
            self._watches[bucket].discard(watch)
            if not self._watches[bucket]:
                del self._watches[bucket]

    async def on_calls_recorded(self, signal: CallsRecorded, delivery: Delivery) -> None:
        for watch in self._watches.get(signal.bucket, ()):
            watch.heard = signal.position
            watch.woken.set()

    async def on_shutdown(self, app: web.Application) -> None:
        """Wake every stream, so that it sees that the server is closing."""
        for watches in self._watches.values():
            for watch in watches:
                watch.woken.set()


class Live:
    """GET /v1/buckets/{bucket}/live"""

    def __init__(self, gate: Gate, asker: Asker, wakes: Wakes, clock: Clock, *, heartbeat_s: float) -> None:
        self._gate = gate
        self._asker = asker
        self._wakes = wakes
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self.binding = Binding(OPERATION, without=("limit", "cursor"))

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Ends within two seconds after the token was revoked or expired, or the bucket deleted."""
        caller = await self._gate.caller(request, OPERATION.scope)
        await self._gate.check_bucket(caller, request.match_info["bucket"])
        try:
            asked = self.binding.bind(request.match_info, request.query.items(), b"", {})
        except Invalid as error:
            raise from_invalid(error) from error
        assert isinstance(asked, SearchCalls)
        with self._wakes.watch(asked.bucket) as watch:
            position = _resumed(request) or asked.after or await self._newest(asked.bucket)
            page = await self._behind(asked, position)  # a refused position is a problem, no broken stream
            answer = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await answer.prepare(request)
            if request.method == "GET":
                await answer.write(f"retry: {RETRY_MS}\n: live\nid: {_id(position)}\n\n".encode())
                await self._send(request, answer, asked, position, page, watch)
        return answer

    async def _send(
        self,
        request: web.Request,
        answer: web.StreamResponse,
        asked: SearchCalls,
        position: Position,
        page: CallPage,
        watch: Watch,
    ) -> None:
        closing = request.app[CLOSING]
        heard: Position | None = None
        quiet_until_s = self._clock.monotonic() + self._heartbeat_s
        while not closing.is_set():
            for call in page.calls:
                data = msgspec.json.encode(call).decode()
                await answer.write(f"id: {_id(call.position)}\nevent: call\ndata: {data}\n\n".encode())
                position = call.position
            if page.next_cursor is None:
                if heard is not None and heard > position:
                    # What was told of before this search and is not in it, the filters leave out.
                    position = heard
                woken = await _within(min(CHECK_EVERY_S, self._heartbeat_s), watch.woken)
                if self._clock.monotonic() >= quiet_until_s:
                    quiet_until_s = self._clock.monotonic() + self._heartbeat_s
                    if not woken:
                        await answer.write(f": still here\nid: {_id(position)}\n\n".encode())
                        woken = True  # a signal may have been lost: look
                if not woken:
                    if not await self._may_go_on(request, asked.bucket):
                        return
                    page = CallPage((), None)
                    continue
            watch.woken.clear()
            heard = watch.heard
            try:
                await self._check(request, asked.bucket)
                page = await self._behind(asked, position, page.next_cursor)
            except Problem as problem:
                if problem.status != 503:
                    return  # the token was revoked, or the bucket has gone: whoever connects again is told
                await answer.write(f": {problem.extra['service']} does not answer\n\n".encode())
                await self._clock.sleep(AWAY_S)
                page, heard = CallPage((), None), None
                watch.woken.set()

    async def _behind(self, asked: SearchCalls, position: Position, cursor: str | None = None) -> CallPage:
        """The next calls behind a position, or where the page before ended."""
        after = position if cursor is None else None
        return await self._asker.ask(
            VAULT, msgspec.structs.replace(asked, after=after, cursor=cursor, limit=PAGE)
        )

    async def _check(self, request: web.Request, bucket: str) -> None:
        caller = await self._gate.still(request, OPERATION.scope)
        await self._gate.check_bucket(caller, bucket)

    async def _may_go_on(self, request: web.Request, bucket: str) -> bool:
        """Not, once the token or the bucket has ended. While nobody can tell, a stream in which nothing
        happens stays open."""
        try:
            await self._check(request, bucket)
        except Problem as problem:
            return problem.status == 503
        return True

    async def _newest(self, bucket: str) -> Position:
        page = await self._asker.ask(VAULT, SearchCalls(bucket, limit=1))
        return page.calls[0].position if page.calls else (0, 0)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether it was set by then."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _id(position: Position) -> str:
    return f"{position[0]},{position[1]}"


def _resumed(request: web.Request) -> Position | None:
    given = request.headers.get("Last-Event-ID", "").strip()
    if not given:
        return None
    partition, _, number = given.partition(",")
    if not (partition.isdecimal() and number.isdecimal() and len(given) < 30):
        detail = f"Last-Event-ID {given[:80]!r} was not sent by this stream."
        raise PARAMETER_INVALID.of(detail, field="Last-Event-ID")
    return int(partition), int(number)
