"""publish(): coalesces events into batches, keeps a window of unconfirmed ones, and returns when they are
durable.

Called by `Bus.publish` and `Bus.emit`. There is no linger: a lane (one event type on one exchange) sends what
it has at the end of the loop's turn, and what arrives while that batch is unconfirmed is the next batch. When
more than GROW_AT events wait, further batches go out unconfirmed beside it, up to WINDOW; an ordered type
keeps one. So a single event is as fast as the broker and a flood travels in full batches.

A broker says of a whole batch that no queue took it, never of one topic in it. So a topic travels with its
like only, until one batch of it was taken; from then on it is mixed with others.

Order: one lane's events leave in the order they were given. Duplication: a batch whose confirmation was lost
is sent again with the same event ids. Loss: none once `send` has returned; if it raises Unavailable, the
events may or may not arrive.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from bus import codec
from bus.clock import Clock
from bus.errors import BusError, Unavailable
from bus.event import Event
from bus.message import Exchange
from bus.tasks import task_group
from bus.transport import Frame, Transport

GROW_AT = 64
WINDOW = 32
WORK_SUFFIX = ".requested"
MAX_WAITING_BYTES = 64 * 1024 * 1024
ROUTED_REMEMBERED = 50_000
EXPIRE_EVERY_S = 0.25
_RETRY_FIRST_S = 0.05
_RETRY_MOST_S = 2.0


class _Ticket:
    """One caller of `send`, waiting for its events."""

    __slots__ = ("deadline", "future", "left", "timeout_s")

    def __init__(self, future: asyncio.Future[None], left: int, timeout_s: float, deadline: float) -> None:
        self.future = future
        self.left = left
        self.timeout_s = timeout_s
        self.deadline = deadline  # on the loop's clock

    def confirm(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Waiting = tuple[bytes, str, _Ticket]


class _Lane:
    __slots__ = ("exchange", "flying", "kicked", "most_events", "routed", "waiting", "window")

    def __init__(self, exchange: Exchange, most_events: int, window: int) -> None:
        self.exchange: Exchange = exchange
        self.most_events = most_events
        self.window = window
        self.waiting: deque[_Waiting] = deque()
        self.routed: set[str] = set()  # topics that a queue has taken before
        self.flying: list[list[_Waiting]] = []  # batches on their way
        self.kicked = False


class Publisher:
    """Made by `Publisher.open`; shared by everything that publishes over one transport."""

    def __init__(self, transport: Transport, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self._transport = transport
        self._clock = clock
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[tuple[Exchange, str], _Lane] = {}
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._batches = 0
        self._expiry: asyncio.TimerHandle
        self.published_events = 0
        self.published_frames = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, transport: Transport, clock: Clock) -> AsyncIterator[Publisher]:
        """On exit what was given to `send` and is still awaited by its caller goes out first."""
        async with task_group() as tasks:
            publisher = cls(transport, clock, tasks)
            publisher._expire()
            try:
                yield publisher
                await publisher.idle()
            finally:
                publisher._expiry.cancel()

    async def idle(self) -> None:
        """Return when nothing waits and nothing is unconfirmed."""
        await self._idle.wait()

    async def send(
        self,
        events: Sequence[Event],
        *,
        exchange: Exchange = "events",
        ordered: bool = False,
        due: datetime | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Return once every event is durable. Raises NotRouted, TooLarge, Malformed (nothing was sent of the
        event at fault), Unavailable after `timeout_s` (it may still arrive; send again with the same ids)."""
        if not events:
            return
        for event in events:
            codec.check(event)
        encoded = [codec.encode_event(event) for event in events]
        if due is not None or self._waiting_bytes > MAX_WAITING_BYTES:
            try:
                async with asyncio.timeout(timeout_s):
                    if due is not None:
                        await self._send_delayed(events, encoded, exchange, due)
                        return
                    while self._waiting_bytes > MAX_WAITING_BYTES:
                        self._room.clear()
                        await self._room.wait()
            except TimeoutError:
                raise self._unconfirmed(timeout_s) from None
        now = self._loop.time()
        ticket = _Ticket(self._loop.create_future(), len(events), timeout_s, now + timeout_s)
        for event, data in zip(events, encoded, strict=True):
            lane = self._lane(exchange, event.type, ordered)
            lane.waiting.append((data, f"{event.type}.{event.key}", ticket))
            self._waiting_bytes += len(data)
            if not lane.kicked:
                lane.kicked = True
                self._idle.clear()
                self._loop.call_soon(self._kick, lane)
        await ticket.future

    def _expire(self) -> None:
        """Fail the tickets whose time is up. Now and then for all of them, because a timer for each event
        would cost as much as its encoding."""
        now = self._loop.time()
        for lane in self._lanes.values():
            for group in (*lane.flying, lane.waiting):
                for _, _, ticket in group:
                    if ticket.deadline <= now:
                        ticket.fail(self._unconfirmed(ticket.timeout_s))
        self._expiry = self._loop.call_later(EXPIRE_EVERY_S, self._expire)

    def _unconfirmed(self, timeout_s: float) -> Unavailable:
        name, state = self._transport.name, self._transport.state()
        return Unavailable(f"the bus ({name}, {state}) did not confirm within {timeout_s:g} s")

    def _lane(self, exchange: Exchange, type: str, ordered: bool) -> _Lane:
        lane = self._lanes.get((exchange, type))
        if lane is None:
            most = 1 if type.endswith(WORK_SUFFIX) else codec.MAX_BATCH_EVENTS
            lane = self._lanes[exchange, type] = _Lane(exchange, most, WINDOW)
        if ordered:
            lane.window = 1
        return lane

    def _kick(self, lane: _Lane) -> None:
        """Start as many batches as the lane's load calls for."""
        lane.kicked = False
        grow_at = min(GROW_AT, lane.most_events)
        while lane.waiting and (
            not lane.flying or (len(lane.flying) < lane.window and len(lane.waiting) >= grow_at)
        ):
            batch = self._take(lane)
            if batch:
                lane.flying.append(batch)
                self._batches += 1
                self._idle.clear()
                self._tasks.create_task(self._deliver(lane, batch))
        if self._batches == 0 and not any(other.waiting for other in self._lanes.values()):
            self._idle.set()

    def _take(self, lane: _Lane) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = topics_size = 0
        topics: set[str] = set()
        alone = False
        while lane.waiting and len(batch) < lane.most_events:
            data, topic, ticket = lane.waiting[0]
            if ticket.future.done():  # its caller has given up
                lane.waiting.popleft()
                self._release(len(data))
                continue
            if topic not in topics:
                if topics and (alone or topic not in lane.routed):
                    break
                alone = topic not in lane.routed
                topics_size += len(topic) + 1
            if batch and (size + len(data) > codec.MAX_BATCH_BYTES or topics_size > codec.MAX_TOPICS_BYTES):
                break
            topics.add(topic)
            size += len(data)
            batch.append(lane.waiting.popleft())
        return batch

    async def _deliver(self, lane: _Lane, batch: list[_Waiting]) -> None:
        try:
            await self._deliver_until_settled(lane, batch)
        finally:
            lane.flying.remove(batch)
            self._batches -= 1
            for data, _, _ in batch:
                self._release(len(data))
            self._kick(lane)

    async def _deliver_until_settled(self, lane: _Lane, batch: list[_Waiting]) -> None:
        sending = batch
        pause_s = _RETRY_FIRST_S
        while sending:
            topics = tuple(dict.fromkeys(topic for _, topic, _ in sending))
            frame = Frame(codec.join_batch([data for data, _, _ in sending]), topics)
            try:
                await self._transport.publish(frame, lane.exchange)
            except Unavailable as error:
                if self._transport.state() == "closed":
                    _fail(sending, error)
                    return
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
                sending = [waiting for waiting in sending if not waiting[2].future.done()]
            except BusError as error:
                _fail(sending, error)
                return
            except BaseException as error:
                _fail(sending, Unavailable(f"the bus failed: {error!r}"))
                raise
            else:
                self.published_events += len(sending)
                self.published_frames += 1
                if len(lane.routed) > ROUTED_REMEMBERED:
                    lane.routed.clear()
                lane.routed.update(topics)
                for _, _, ticket in sending:
                    ticket.confirm()
                return

    async def _send_delayed(
        self, events: Sequence[Event], encoded: list[bytes], exchange: Exchange, due: datetime
    ) -> None:
        for event, data in zip(events, encoded, strict=True):
            frame = Frame(codec.join_batch([data]), (event.topic,))
            pause_s = _RETRY_FIRST_S
            while True:
                try:
                    await self._transport.publish(frame, exchange, due=due)
                    break
                except Unavailable:
                    if self._transport.state() == "closed":
                        raise
                    await self._clock.sleep(pause_s)
                    pause_s = min(pause_s * 2, _RETRY_MOST_S)

    def _release(self, size: int) -> None:
        self._waiting_bytes -= size
        if self._waiting_bytes <= MAX_WAITING_BYTES:
            self._room.set()


def _fail(batch: list[_Waiting], error: BaseException) -> None:
    for _, _, ticket in batch:
        ticket.fail(error)
