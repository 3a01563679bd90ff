"""Carries erasures out: in small steps, taken up again after a crash, until nothing is left.

An erasure is on disk (`store.erasures`) before it is in the log, and each step before it is done, with the
calls and bodies that it takes: one that was cut off is done again, whole. At the end the database's files
hold nothing of it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from msgspec.structs import replace

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError, Refused, Unavailable
from bus.ids import derived
from bus.message import Fact
from bus.tasks import task_group
from schemas.request_vault import (
    ANY_VERSION,
    CallsErased,
    EraseSubject,
    Erasure,
    ErasureFinished,
    Recorded,
)
from schemas.traffic_gateway import Body, CallCaptured, Headers
from services.request_vault.domain.calls import bodies_apart
from services.request_vault.domain.erasing import Order, Work, erasure_stream
from services.request_vault.domain.sought import Sought, sought
from services.request_vault.store.bodies import MAX_BODY_BYTES, Bodies
from services.request_vault.store.erasures import Erasures
from services.request_vault.store.port import Selection, Store
from services.request_vault.worker.keeping import PAUSE_LEAST_S, emptied

PAGE_CALLS = 100
STEP_RECORDS = 100
LONG_AT_ONCE = 2
RETRY_FIRST_S = 0.5
RETRY_MOST_S = 60.0
NO_BODY = "0" * 64

_log = structlog.get_logger("request_vault")


class Erasing:
    """decided(): called after an append; returns at once. purged(): returns when the text index is rid of
    what was erased."""

    def __init__(
        self,
        store: Store,
        bodies: Bodies,
        erasures: Erasures,
        bus: Bus,
        clock: Clock,
        *,
        decided: Callable[[], None],
        purged: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._erasures = erasures
        self._bus = bus
        self._clock = clock
        self._decided = decided
        self._purged = purged
        self._going: dict[str, Work] = {}
        self._ordering = asyncio.Lock()
        self._waiting: dict[str, list[asyncio.Future[Erasure]]] = {}
        self._begun: asyncio.Queue[str] = asyncio.Queue()
        self._long = asyncio.Semaphore(LONG_AT_ONCE)

    async def resume(self) -> None:
        """Take up what was going on; before anything is ordered."""
        for work in await self._erasures.all():
            _log.info("an erasure is taken up", id=work.order.id, bucket=work.order.bucket)
            self._begin(work)

    async def order(self, order: Order) -> Erasure:
        """Begin it, unless it goes on already; how far it is. It will be carried out whatever happens now.
        Raises Refused("command-conflict"), Unavailable."""
        async with self._ordering:
            if (work := self._going.get(order.id)) is None:
                work = Work(order)
                await self._erasures.keep(work)
                self._begin(work)
        if not order.same_as(work.order):
            raise Refused("command-conflict", "this command_id was used for another command; use a new one")
        return work.told()

    def going(self, id: str) -> Erasure | None:
        """How far an erasure is that goes on here."""
        work = self._going.get(id)
        return None if work is None else work.told()

    async def finished(self, id: str) -> Erasure:
        """Once it is: what it did. Raises Unavailable when it has to wait; it goes on all the same."""
        waiting: asyncio.Future[Erasure] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id, []).append(waiting)
        return await waiting

    @property
    def count(self) -> int:
        return len(self._going)

    async def run(self) -> None:
        """Until cancelled."""
        async with task_group() as tasks:
            while True:
                id = await self._begun.get()
                tasks.create_task(self._see_through(id), name=f"request_vault.erasure.{id}")

    def _begin(self, work: Work) -> None:
        id = work.order.id
        self._going[id] = work
        self._begun.put_nowait(id)

    async def _see_through(self, id: str) -> None:
        if self._going[id].order.kind == "call":
            await self._until_done(id)
            return
        async with self._long:
            await self._until_done(id)

    async def _until_done(self, id: str) -> None:
        retry_s = RETRY_FIRST_S
        while True:
            try:
                done = await self._carry_out(id)
            except Exception as error:
                # Whatever it is: an erasure that was ordered is not given up, and does not end the vault.
                # Errors that are none of the bus's may say what is to be forgotten.
                told = str(error) if isinstance(error, BusError) else type(error).__name__
                _log.warning("an erasure waits", id=id, error=told, retry_s=retry_s)
                for waiting in self._waiters(id):
                    waiting.set_exception(Unavailable(f"the erasure is not finished, and goes on: {told}"))
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_MOST_S)
            else:
                del self._going[id]
                for waiting in self._waiters(id):
                    waiting.set_result(done)
                return

    def _waiters(self, id: str) -> list[asyncio.Future[Erasure]]:
        return [each for each in self._waiting.pop(id, []) if not each.done()]

    async def _carry_out(self, id: str) -> Erasure:
        order = self._going[id].order
        if await self._store.named(order.bucket, [NO_BODY]):
            raise Unavailable("the read model of calls is of an older version; it is being built anew")
        await self._append(order, order.fact(), "ordered")
        if self._going[id].doing:
            await self._finish_step(id)
        match order.kind:
            case "call":
                await self._erase_call(id)
            case "subject":
                await self._erase_subject(id)
            case "bucket":
                await self._erase_bucket(id)
        await self._purged()
        await emptied(self._store, self._clock)
        work = self._going[id]
        with suppress(Refused):  # another instance was asked too, and finished it
            await self._append(order, ErasureFinished(id, order.bucket, work.calls, work.bodies), "finished")
        await self._erasures.remove(id)
        _log.info("erased", id=id, bucket=order.bucket, kind=order.kind, calls=work.calls, bodies=work.bodies)
        return replace(work.told(), state="finished")

    async def _erase_call(self, id: str) -> None:
        work = self._going[id]
        if work.calls:  # the step was done before
            return
        call_id = work.order.where
        found = await self._store.get_call(call_id, work.order.bucket, deleted=True)
        bodies: tuple[str, ...] = ()
        if found is not None:
            bodies = tuple(sorted(bodies_apart(_call(found.event))))
        await self._keep(replace(work, looked_at=1, doing=(call_id,), doing_bodies=bodies))
        await self._finish_step(id)

    async def _erase_subject(self, id: str) -> None:
        order = self._going[id].order
        looked_for = sought(EraseSubject(id, order.bucket, order.value, header=order.header, path=order.path))
        await self._erase_calls(id, lambda call: self._is_in(looked_for, call))

    async def _erase_calls(self, id: str, wanted: Callable[[CallCaptured], Awaitable[bool]]) -> None:
        """Those of the bucket that are wanted, a page of the log at a time. Each step is on disk before it is
        done: the log is told of all that it takes, wherever a crash cuts it off."""
        order = self._going[id].order
        partition = self._store.partition_of(order.bucket)
        end = order.upto.get(partition, 0)
        selection = Selection(types=(CallCaptured.TYPE,), key=order.bucket)
        # Of other partitions nothing is wanted.
        after = {**order.upto, partition: 0, **self._going[id].after}
        while after[partition] < end:
            began_s = self._clock.monotonic()
            page = await self._store.read_log(selection, after, PAGE_CALLS)
            records = [record for record in page.records if record.position[1] <= end]
            found: list[str] = []
            bodies: set[str] = set()
            for record in records:
                call = _readable(record)
                if call is not None and await wanted(call):
                    found.append(call.id)
                    bodies.update(bodies_apart(call))
            after = {**order.upto, partition: max(page.reached.get(partition, end), after[partition])}
            if not page.more:
                after[partition] = end
            work = self._going[id]
            work = replace(work, after=after, looked_at=work.looked_at + len(records))
            ids = tuple(dict.fromkeys(found))
            await self._keep(replace(work, doing=ids, doing_bodies=tuple(sorted(bodies))))
            if ids:
                await self._finish_step(id)
            await self._pause(began_s)

    async def _erase_bucket(self, id: str) -> None:
        order = self._going[id].order

        async def every(call: CallCaptured) -> bool:
            return True

        await self._erase_calls(id, every)
        # What is no call, what cannot be read, and what was said of calls that went before.
        while True:
            began_s = self._clock.monotonic()
            erased = await self._store.erase_bucket(
                order.bucket, order.upto, STEP_RECORDS, by=order.by, why=order.why
            )
            if not erased.records:
                break
            removed = await self._bodies.delete(order.bucket, [name.sha256 for name in erased.bodies])
            await self._tell_erased(order, erased.calls)
            work = self._going[id]
            calls = len(erased.calls)
            await self._keep(
                replace(
                    work,
                    calls=work.calls + calls,
                    looked_at=work.looked_at + calls,
                    bodies=work.bodies + removed.bodies,
                )
            )
            await self._pause(began_s)
        # And those that a crash has left, or that came without their call.
        swept = await self._bodies.sweep(self._store.named, 0.0, order.ordered_at, bucket=order.bucket)
        work = self._going[id]
        self._going[id] = replace(work, bodies=work.bodies + swept.bodies)

    async def _finish_step(self, id: str) -> None:
        """Erase what `doing` says; right when part of it was done before."""
        work = self._going[id]
        order = work.order
        await self._store.erase(order.bucket, work.doing, by=order.by, why=order.why)
        named = await self._store.named(order.bucket, work.doing_bodies)
        removed = await self._bodies.delete(
            order.bucket, [sha256 for sha256 in work.doing_bodies if sha256 not in named]
        )
        await self._tell_erased(order, work.doing)
        await self._keep(
            replace(
                work,
                doing=(),
                doing_bodies=(),
                calls=work.calls + len(work.doing),
                bodies=work.bodies + removed.bodies,
            )
        )

    async def _is_in(self, looked_for: Sought, call: CallCaptured) -> bool:
        if looked_for.in_headers(call):
            return True
        if not looked_for.reads_bodies:
            return False
        sides: list[tuple[Headers, Body]] = [(call.request.headers, call.request.body)]
        if call.response is not None:
            sides.append((call.response.headers, call.response.body))
        for headers, body in sides:
            data = body.inline if body.inline is not None else await self._stored(call.bucket, body.sha256)
            # Looking into a large one takes a while.
            if await asyncio.to_thread(looked_for.in_body, headers, body, data):
                return True
        return False

    async def _stored(self, bucket: str, sha256: str | None) -> bytes:
        """A body that is kept apart; as far as it can be read."""
        data = bytearray()
        with suppress(Refused):
            while sha256 is not None and len(data) <= MAX_BODY_BYTES:
                part = await self._bodies.read(bucket, sha256, len(data))
                if part is None or not part.data:
                    break
                data += part.data
        return bytes(data)

    async def _tell_erased(self, order: Order, calls: tuple[str, ...]) -> None:
        if calls:
            fact = CallsErased(order.id, order.bucket, calls, order.why, order.by)
            await self._append(order, fact, "erased", *calls)

    async def _append(self, order: Order, fact: Fact, *what: str) -> None:
        """Once, however often it is done."""
        event = self._bus.envelop(fact, key=order.bucket, subject=order.id, id=derived(order.id, *what))
        await self._store.append(erasure_stream(order.id), ANY_VERSION, [codec.encode_event(event)])
        self._decided()

    async def _keep(self, work: Work) -> None:
        await self._erasures.keep(work)
        self._going[work.order.id] = work

    async def _pause(self, began_s: float) -> None:
        await self._clock.sleep(max(PAUSE_LEAST_S, self._clock.monotonic() - began_s))


def _call(encoded: bytes) -> CallCaptured:
    event = codec.decode_event(encoded)
    return event.read(CallCaptured)


def _readable(record: Recorded) -> CallCaptured | None:
    try:
        return _call(record.event)
    except BusError as error:
        _log.warning("a call cannot be looked into", position=record.position, error=str(error))
        return None
