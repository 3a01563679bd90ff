"""A consumer of one subscription, and a frame in its hands. Made by `broker`; frames are handed to it by its
`queue`.

At most `window_frames` frames and `window_bytes` of bodies are unsettled at a time (one frame may be larger
than the window when it is alone), and one suspect beside them. Nothing here waits or blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from bus.transport import Deliver, Frame

if TYPE_CHECKING:
    from bus.embedded.queue import Entry, Queue


class InHand:
    """A frame that was delivered (`bus.transport.Delivered`). Settling it a second time, or after its
    consumer was closed, does nothing."""

    __slots__ = ("frame", "returned", "_id", "_entry", "_consumer")

    def __init__(
        self, consumer: QueueConsumer, id: int, frame: Frame, returned: int, entry: Entry | None
    ) -> None:
        self.frame = frame
        self.returned = returned
        self._id = id
        self._entry = entry  # None for a suspect
        self._consumer: QueueConsumer | None = consumer

    def done(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer._settle(self._id, self._entry)

    def give_back(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer._return(self._id, self._entry, self.returned + 1)

    def _let_go(self) -> tuple[int, Entry | None, int]:
        self._consumer = None
        return self._id, self._entry, self.returned + 1


class QueueConsumer:
    """A running consumer (`bus.transport.Consumer`)."""

    def __init__(
        self,
        queue: Queue,
        deliver: Deliver,
        closed: Callable[[QueueConsumer], None],
        *,
        window_frames: int,
        window_bytes: int,
    ) -> None:
        self._queue = queue
        self._deliver = deliver
        self._on_closed = closed
        self._window_frames = window_frames
        self._window_bytes = window_bytes
        self._in_hand: dict[int, InHand] = {}
        self._bytes = 0
        self._suspect: InHand | None = None
        self._paused = False
        self._closed = False
        self.awaits_suspect = False  # one is being written down as handed to this consumer

    async def pause(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            self._queue.wake()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        unsettled = [in_hand._let_go() for in_hand in self._in_hand.values()]
        if self._suspect is not None:
            unsettled.append(self._suspect._let_go())
        self._in_hand.clear()
        self._bytes = 0
        self._suspect = None
        for id, entry, returned in unsettled:
            self._queue.take_back(id, entry, returned)
        self._on_closed(self)

    def takes(self, size_bytes: int) -> bool:
        """Whether a frame of this size may be handed to it now."""
        if self._paused or self._closed or len(self._in_hand) >= self._window_frames:
            return False
        return not self._in_hand or self._bytes + size_bytes <= self._window_bytes

    def takes_suspects(self) -> bool:
        return not (self._paused or self._closed or self._suspect is not None or self.awaits_suspect)

    def hand(self, entry: Entry, returned: int) -> None:
        in_hand = InHand(self, entry.id, entry.frame, returned, entry)
        self._in_hand[entry.id] = in_hand
        self._bytes += entry.size_bytes
        self._call(in_hand)

    def hand_suspect(self, id: int, frame: Frame, returned: int) -> None:
        self._suspect = InHand(self, id, frame, returned, None)
        self._call(self._suspect)

    def _call(self, in_hand: InHand) -> None:
        try:
            self._deliver(in_hand)
        except Exception as error:  # a broken consumer must not stop the others; the frame stays in its hands
            message = f"the consumer of {self._queue.subscription.name} failed to take a frame"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    def _settle(self, id: int, entry: Entry | None) -> None:
        self._forget(id, entry)
        self._queue.settle(id, entry)

    def _return(self, id: int, entry: Entry | None, returned: int) -> None:
        self._forget(id, entry)
        self._queue.take_back(id, entry, returned)

    def _forget(self, id: int, entry: Entry | None) -> None:
        if entry is None:
            self._suspect = None
        else:
            del self._in_hand[id]
            self._bytes -= entry.size_bytes
