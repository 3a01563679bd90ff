"""The port that every transport implements, and the promises it makes. Proved by `tests/conformance/` for
each of them.

A transport moves *frames*: bodies of one or more encoded events with their topics. It knows nothing of what
is inside. Above it stand the publisher (events -> frames), the subscriber (frames -> handlers) and asking;
below it a broker.

Promises
1. `publish` returns when the frame is durable in every queue that takes it and survives the death of every
   process; NotRouted when no queue takes it (nothing is stored then); Unavailable when that is not known
   within the transport's bound: the frame may still arrive, so the caller publishes it again with the same
   event ids.
2. A frame given to `deliver` stays the consumer's until `done()`; if the consumer, its process or its
   connection dies first, it is delivered again, `returned` one higher. Nothing is dropped after any number of
   returns.
3. `send_later` puts a copy into one subscription's queue at its due time, not before, and is confirmed like
   `publish`. Long and short delays do not wait for each other. Send first, then `done()`: a crash in between
   makes a duplicate, never a loss.
4. A shared queue gives each frame to one consumer; an ordered one has one active consumer at a time and
   delivers in the order of publishing, a surviving consumer taking over; an every_instance queue belongs to
   its consumer and dies with it.
5. A *suspect* frame (one that may kill its worker) is delivered alone: never while another suspect of the
   same consumer is unsettled. Its `returned` counts only losses while it was in hand.
6. What is unsettled at one consumer is bounded: by `window_frames` and, following the mean frame size,
   `window_bytes`.
7. `request` reaches one of those who `answer`; nothing of it is stored, and after the deadline it is not
   delivered.
8. Kept frames: what is published with a topic under `bus.event.` is also kept by the transport itself
   (bounded by age, KEPT_DAYS), so that parking never depends on another service; `kept()` reads them, oldest
   first.
9. `async with transport` is ready on entry. On exit consumers are closed, and unsettled frames go back.

Lost connections are repaired by the transport, with back-off and jitter, without its callers' help: consumers
go on, what they held is delivered again; calls of a frame's `done()` from before are ignored.

Not here yet, with room left for it: a durable subscription that does not push back and has outgrown its byte
limit is unbound and marked *behind*, catches up from the log, and is bound again. Until that exists its queue
grows on disk for as long as nobody consumes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from bus.message import Exchange, Subscription

KEPT_PREFIX = "bus.event"
KEPT_DAYS = 90

State = Literal["connecting", "ready", "blocked", "closed"]


class Frame(msgspec.Struct, frozen=True):
    """One transport message.

    body: a batch body (`bus.codec`), or whatever a foreign producer sent.
    topics: the distinct topics of its events; the first is the routing key. At least one.
    content_type: what the body claims to be. headers: foreign producers' `cloudEvents:` attributes in binary
    mode, else empty.
    attempt: how often its events were tried and failed before (0 for a fresh frame).
    first_failed_at, last_error: of those tries.
    """

    body: bytes
    topics: tuple[str, ...]
    content_type: str = "application/cloudevents-batch+msgpack"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    attempt: int = 0
    suspect: bool = False
    first_failed_at: datetime | None = None
    last_error: str | None = None


class Delivered(Protocol):
    """A frame in a consumer's hands. Exactly one of `done` and `give_back` is called, once, from the event
    loop."""

    frame: Frame
    returned: int  # how often it was delivered before and came back unsettled

    def done(self) -> None:
        """It is settled: forget it. Returns at once; the acknowledgement travels later, perhaps with
        others."""

    def give_back(self) -> None:
        """It was not worked on: deliver it again, to this or another consumer, as soon as may be. Counts as a
        return."""


class Consumer(Protocol):
    """A running consumer of one subscription."""

    async def pause(self) -> None:
        """No further frames are delivered until `resume`. Those delivered before stay with the caller."""

    async def resume(self) -> None: ...

    async def close(self) -> None:
        """Stop; what is unsettled goes back to the queue. Idempotent."""


Deliver = Callable[[Delivered], None]
Answer = Callable[[Frame], Awaitable[bytes]]


class Transport(Protocol):
    name: str  # "embedded" or "rabbitmq"

    def state(self) -> State:
        """For status pages and the publisher: whether a publish is likely to be taken now."""

    async def wait_ready(self) -> None:
        """Return when `state()` is "ready"; raise Unavailable when the transport is closed. Bound it with
        asyncio.timeout."""

    async def declare(self, subscriptions: Iterable[Subscription]) -> None:
        """Make the durable queues and bindings of these (every_instance ones need none). Idempotent; repeated
        by the transport itself when a broker comes back without them. TopologyDiffers names the queue and the
        argument that differs."""

    async def publish(
        self, frame: Frame, exchange: Exchange = "events", *, due: datetime | None = None
    ) -> None:
        """Promise 1. With `due` the frame is kept and routed at that time (NotRouted is not found out
        then)."""

    async def send_later(self, subscription: str, frame: Frame, *, due: datetime | None = None) -> None:
        """Promise 3: to one subscription's queue; at once without `due`. A suspect frame goes to its
        suspects."""

    async def consume(
        self,
        subscription: Subscription,
        deliver: Deliver,
        *,
        window_frames: int = 256,
        window_bytes: int = 8 * 1024 * 1024,
    ) -> Consumer:
        """Declare the subscription if need be and start consuming it, suspects included. `deliver` must not
        block; a frame may be delivered before this returns."""

    async def signal(self, frame: Frame) -> None:
        """Send to whoever listens at this moment. Not stored; no error when nobody does."""

    async def listen(self, patterns: Iterable[str], hear: Callable[[Frame], None]) -> Consumer:
        """Hear signals of these topics."""

    async def request(self, frame: Frame, *, timeout_s: float) -> bytes:
        """Promise 7. Raises NobodyAnswers, DeadlinePassed, Unavailable."""

    async def answer(self, name: str, patterns: Iterable[str], answer: Answer) -> Consumer:
        """Answer requests of these topics; instances with the same `name` divide them. `answer` gets the
        request's frame and returns the reply's body; it must not raise. Requests run concurrently (at most
        256 at once). Closing lets those in hand finish."""

    def kept(self) -> AsyncIterator[Frame]:
        """Promise 8."""

    async def queue_depths(self, subscriptions: Iterable[Subscription]) -> dict[str, int]:
        """Frames waiting per durable subscription (unsettled ones and suspects included), for status pages
        and tests."""
