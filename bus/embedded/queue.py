"""One subscription's frames: those in memory, those in consumers' hands, and where the rest begins in the
journal. Used by `broker`, on the event loop only.

In memory is a window: at most WINDOW_FRAMES and WINDOW_BYTES of frames that wait, and none while nobody
consumes. A queue that outgrows it is *behind*: newer frames are counted only, and read from the journal when
there is room. The queue of an every_instance consumer works the same way, so a listener that is too slow
costs disk, not memory, and misses nothing.

Order: frames are handed out as published; what came back goes first. Loss: none. Duplication: a frame is
handed out again after it came back, or when the process died before its settling was flushed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from bus.embedded.consumer import QueueConsumer
from bus.message import Subscription
from bus.topics import Matcher
from bus.transport import Frame

WINDOW_FRAMES = 1024
WINDOW_BYTES = 16 * 1024 * 1024
REREAD_FRAMES = 32  # of those that came back, read at a time
MARK_STEP_FRAMES = 256  # how far ahead of what is handed out the mark is raised


class Entry:
    """A frame in memory, shared by all queues that it was routed to. routes, offered: queue numbers (see
    `format`)."""

    __slots__ = ("id", "frame", "routes", "offered", "size_bytes", "__weakref__")

    def __init__(self, id: int, frame: Frame, routes: tuple[int, ...], offered: tuple[int, ...]) -> None:
        self.id = id
        self.frame = frame
        self.routes = routes
        self.offered = offered
        self.size_bytes = len(frame.body)


class Host(Protocol):
    """What a queue needs of its broker. `then` callbacks come later, on the loop, however long the journal
    takes nothing."""

    def load_after(
        self, number: int, after: int, limit: int, limit_bytes: int, then: Callable[[list[Entry], bool], None]
    ) -> None: ...

    def load_these(self, ids: list[int], then: Callable[[list[Entry]], None]) -> None: ...

    def raise_mark(self, number: int, mark: int, then: Callable[[], None]) -> None: ...

    def note_suspect(
        self, id: int, then: Callable[[Frame | None], None], failed: Callable[[], None]
    ) -> None: ...

    def suspect_settled(self, id: int) -> None: ...

    def suspect_back(self, id: int, returned: int) -> None: ...

    def settled(self, id: int, routes: tuple[int, ...]) -> None: ...

    def room(self) -> None: ...

    def changed(self, queue: Queue) -> None: ...

    def wake(self, queue: Queue) -> None: ...


class Queue:
    """`read_to` is the cursor: frames of this queue up to it are settled, except those in `held` (id -> how
    often it came back)."""

    def __init__(
        self, number: int, subscription: Subscription, host: Host, *, read_to: int, mark: int, behind: bool
    ) -> None:
        self.number = number
        self.subscription = subscription
        self.matcher = Matcher(subscription.patterns)
        self.durable = number > 0
        self.read_to = read_to
        self.mark = mark
        self.held: dict[int, int] = {}
        self.stored_held: dict[int, int] = {}  # as it will be on disk when every flush so far is
        self.depth = 0
        self.waiting_bytes = 0
        self.consumers: list[QueueConsumer] = []
        self.suspects: deque[tuple[int, int]] = deque()
        self._host = host
        self._ready: deque[Entry] = deque()
        self._ready_bytes = 0
        self._loaded_to = read_to
        self._behind = behind
        self._back: list[tuple[int, Entry]] = []
        self._came_back: list[Entry] = []  # since the last pump; handed out in the next turn of the loop
        self._absent: deque[int] = deque()  # came back, but is not in memory
        self._loads = 0  # numbers the loads, so that one which nobody waits for any more is told apart
        self._loading = False
        self._rereading = False
        self._marking = False
        self._next = 0

    @staticmethod
    def check(subscription: Subscription) -> None:
        """Raises TopicInvalid for a pattern that is none."""
        Matcher(subscription.patterns)

    def bind(self, subscription: Subscription) -> None:
        """Other bindings; frames that were routed before stay."""
        self.subscription = subscription
        self.matcher = Matcher(subscription.patterns)

    def full(self) -> bool:
        limit_bytes = self.subscription.max_bytes
        return self.subscription.pushes_back and limit_bytes is not None and self.waiting_bytes >= limit_bytes

    def has_settled(self, id: int) -> bool:
        """Of a frame that was routed to this queue."""
        return id <= self.read_to and id not in self.held

    def offers(self) -> bool:
        """Whether a frame that is published now may be handed out as soon as it is committed."""
        return (
            self.durable and bool(self.consumers) and not self._behind and len(self._ready) < MARK_STEP_FRAMES
        )

    def memory_frames(self) -> int:
        return len(self._ready) + len(self._back) + len(self._came_back)

    def accept(self, entry: Entry) -> None:
        """A frame was committed."""
        self.depth += 1
        self.waiting_bytes += entry.size_bytes
        fits = len(self._ready) < WINDOW_FRAMES and self._ready_bytes + entry.size_bytes <= WINDOW_BYTES
        if not self._behind and self.consumers and fits:
            self._append(entry)
        else:
            self._behind = True

    def accept_suspect(self, id: int) -> None:
        self.depth += 1
        self.suspects.append((id, 0))

    def attach(self, consumer: QueueConsumer) -> None:
        if not self.consumers:
            self._absent = deque(sorted(self.held))
        self.consumers.append(consumer)
        self.wake()

    def detach(self, consumer: QueueConsumer) -> None:
        """A consumer was closed. The last one takes the queue out of memory."""
        self.consumers.remove(consumer)
        if self.consumers:
            self.wake()
        else:
            self._leave_memory()

    def drop(self) -> tuple[list[Entry], int | None]:
        """The queue is no more. What it had in memory and, when it was behind, after which frame the rest is
        in the journal."""
        entries = [*self._came_back, *(entry for _, entry in self._back), *self._ready]
        rest = self._loaded_to if self._behind else None
        self._leave_memory()
        return entries, rest

    def _leave_memory(self) -> None:
        self.consumers.clear()
        self._behind = self._behind or bool(self._ready)
        self._ready.clear()
        self._ready_bytes = 0
        self._loaded_to = self.read_to
        self._back.clear()
        self._came_back.clear()
        self._absent.clear()
        self._loads += 1
        self._loading = False
        self._rereading = False

    def settle(self, id: int, entry: Entry | None) -> None:
        self.depth -= 1
        if entry is None:
            self._host.suspect_settled(id)
        else:
            was_full = self.full()
            self.waiting_bytes -= entry.size_bytes
            if was_full and not self.full():
                self._host.room()
            del self.held[id]
            self._host.settled(id, entry.routes)
            self._host.changed(self)
        self.wake()

    def take_back(self, id: int, entry: Entry | None, returned: int) -> None:
        if entry is None:
            self.suspects.appendleft((id, returned))
            self._host.suspect_back(id, returned)
        else:
            self.held[id] = returned
            self._came_back.append(entry)
            self._host.changed(self)
        self.wake()

    def wake(self) -> None:
        self._host.wake(self)

    def pump(self) -> None:
        """Hand out what can be handed out, and read on."""
        for entry in self._came_back:
            heappush(self._back, (entry.id, entry))
        self._came_back.clear()
        while (first := self._first()) is not None:
            entry = first
            consumer = self._taker(entry.size_bytes)
            # What is given back from within `deliver` waits for the next turn, and holds up what is newer,
            # for the order.
            if consumer is None or self._came_back:
                break
            if self._back:
                heappop(self._back)
            else:
                self._ready.popleft()
                self._ready_bytes -= entry.size_bytes
                self.read_to = entry.id
                self.held[entry.id] = 0
                self._host.changed(self)
            consumer.hand(entry, self.held[entry.id])
        if self.suspects:
            self._pump_suspects()
        self._read_on()

    def _first(self) -> Entry | None:
        if self._back:
            return self._back[0][1]
        if self._absent or self._rereading or not self._ready:
            return None
        entry = self._ready[0]
        if not self.durable or entry.id <= self.mark or self.number in entry.offered:
            return entry
        if not self._marking:
            self._marking = True
            mark = self._ready[min(len(self._ready), MARK_STEP_FRAMES) - 1].id
            self._host.raise_mark(self.number, mark, lambda: self._marked(mark))
        return None

    def _marked(self, mark: int) -> None:
        self._marking = False
        self.mark = max(self.mark, mark)
        self.pump()

    def _taker(self, size_bytes: int) -> QueueConsumer | None:
        if self.subscription.mode == "ordered":
            first = self.consumers[0] if self.consumers else None
            return first if first is not None and first.takes(size_bytes) else None
        for step in range(len(self.consumers)):
            at = (self._next + step) % len(self.consumers)
            if self.consumers[at].takes(size_bytes):
                self._next = at + 1
                return self.consumers[at]
        return None

    def _pump_suspects(self) -> None:
        candidates = self.consumers[:1] if self.subscription.mode == "ordered" else self.consumers
        for consumer in candidates:
            if self.suspects and consumer.takes_suspects():
                self._hand_suspect(consumer, *self.suspects.popleft())

    def _hand_suspect(self, consumer: QueueConsumer, id: int, returned: int) -> None:
        consumer.awaits_suspect = True

        def noted(frame: Frame | None) -> None:
            consumer.awaits_suspect = False
            if frame is None:
                self.depth -= 1
            elif consumer.takes_suspects():
                consumer.hand_suspect(id, frame, returned)
            else:  # paused or closed meanwhile: it was not in hand, so this is no return
                self.take_back(id, None, returned)

        def failed() -> None:
            consumer.awaits_suspect = False
            self.suspects.appendleft((id, returned))

        self._host.note_suspect(id, noted, failed)

    def _read_on(self) -> None:
        if self._loading or not self.consumers:
            return
        if self._absent:
            if len(self._back) < REREAD_FRAMES:
                self._start_load()
                self._rereading = True
                ids = [self._absent.popleft() for _ in range(min(REREAD_FRAMES, len(self._absent)))]
                load = self._loads
                self._host.load_these(ids, lambda entries: self._reread(load, ids, entries))
        elif self._behind and len(self._ready) < WINDOW_FRAMES // 2 and self._ready_bytes < WINDOW_BYTES // 2:
            self._start_load()
            load = self._loads
            self._host.load_after(
                self.number,
                self._loaded_to,
                WINDOW_FRAMES - len(self._ready),
                WINDOW_BYTES - self._ready_bytes,
                lambda entries, last: self._loaded(load, entries, last),
            )

    def _start_load(self) -> None:
        self._loading = True
        self._loads += 1

    def _loaded(self, load: int, entries: list[Entry], last: bool) -> None:
        if load != self._loads:
            return
        self._loading = False
        for entry in entries:
            self._append(entry)
        if last:  # reads are reported after the commits that they saw, so nothing was added since
            self._behind = False
        self.pump()

    def _reread(self, load: int, ids: list[int], entries: list[Entry]) -> None:
        if load != self._loads:
            return
        self._loading = self._rereading = False
        for entry in entries:
            heappush(self._back, (entry.id, entry))
        for id in set(ids) - {entry.id for entry in entries}:
            del self.held[id]
        self.pump()

    def _append(self, entry: Entry) -> None:
        self._ready.append(entry)
        self._ready_bytes += entry.size_bytes
        self._loaded_to = entry.id
