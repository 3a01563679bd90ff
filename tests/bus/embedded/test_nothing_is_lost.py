"""Whatever is done to a journal, and whenever its process dies: what a subscription has not settled comes
back, once; what it has settled may come back after a crash, and what was never published does not come."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.embedded import EmbeddedTransport, open_embedded
from bus.embedded import queue as queues
from bus.message import Subscription
from bus.testing import ManualClock, turns
from bus.transport import Consumer, Delivered
from tests.bus.embedded.catching import ORDERS, Catcher, frame, leave_as_after_a_crash, reopened
from tests.effort import tries

AUDIT = Subscription(name="audit", patterns=("#",), mode="ordered")
LIVE = Subscription(name="live", patterns=("shop.order.#",), mode="every_instance")
SUBSCRIPTIONS = {subscription.name: subscription for subscription in (ORDERS, AUDIT, LIVE)}
ORDER, STOCK = "shop.order.placed.eu", "shop.stock.low.eu"

NAMES = st.sampled_from(sorted(SUBSCRIPTIONS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([ORDER, STOCK])),
        st.tuples(st.sampled_from(["consume", "close", "pause", "resume"]), NAMES),
        st.tuples(st.sampled_from(["done", "give_back"]), NAMES),
        st.tuples(st.sampled_from(["done", "give_back"]), NAMES),
        st.tuples(st.sampled_from(["suspect", "reopen", "crash"]), st.just("")),
    ),
    max_size=30,
)


class Story:
    """Does the steps, and knows what each durable subscription has not settled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.journal = folder / "0.db"
        self.published = 0
        self.crashes = 0
        self.unsettled: dict[str, set[str]] = {"billing": set(), "audit": set()}
        self.settled: dict[str, set[str]] = {"billing": set(), "audit": set()}  # since the journal was opened
        self.doubtful: dict[str, set[str]] = {"billing": set(), "audit": set()}  # settled just before a crash

    def check(self, found: dict[str, list[str]]) -> None:
        for name, bodies in found.items():
            assert len(set(bodies)) == len(bodies), f"{name} got something twice"
            assert self.unsettled[name] <= set(bodies), f"{name} lost something"
            assert set(bodies) <= self.unsettled[name] | self.doubtful[name], (
                f"{name} got what it had settled"
            )
        audit = [int(body) for body in found["audit"]]
        assert audit == sorted(audit), "audit is ordered"

    def settle(self, name: str, body: str) -> None:
        if name in self.unsettled:
            self.unsettled[name].discard(body)
            self.doubtful[name].discard(body)
            self.settled[name].add(body)

    def close(self) -> None:
        for settled in self.settled.values():
            settled.clear()

    def crash(self) -> Path:
        self.crashes += 1
        for name, settled in self.settled.items():
            self.doubtful[name] |= settled
            settled.clear()
        return leave_as_after_a_crash(self.journal, self.folder / f"{self.crashes}.db")

    async def run(self, steps: list[tuple[str, str]]) -> None:
        left = iter(steps)
        ended = False
        while not ended:
            async with open_embedded(self.journal, clock=self.clock) as transport:
                following, ended = await Life(self, transport).run(left)
            self.journal = following
        found = await reopened(self.journal, self.clock, ORDERS, AUDIT)
        self.check({name: [body for body, _ in frames] for name, frames in found.items()})


class Life:
    """From opening the journal to closing it, or to the death of the process."""

    def __init__(self, story: Story, transport: EmbeddedTransport) -> None:
        self.story = story
        self.transport = transport
        self.consumers: dict[str, list[Consumer]] = {name: [] for name in SUBSCRIPTIONS}
        self.hands: dict[str, list[tuple[Consumer | None, Delivered]]] = {name: [] for name in SUBSCRIPTIONS}
        self.audited: set[int] = set()
        self.failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.failures.append(context))

    async def run(self, left: Iterator[tuple[str, str]]) -> tuple[Path, bool]:
        story = self.story
        await self.transport.declare([ORDERS, AUDIT])
        for what, value in left:
            if what == "reopen":
                story.close()
                return story.journal, False
            if what == "crash":
                return story.crash(), False
            await getattr(self, what)(value)
            await turns(5)
        await self.everything_comes()
        assert not self.failures
        story.close()
        return story.journal, True

    async def everything_comes(self) -> None:
        """In this life too, to consumers that take what the others gave up."""
        found: dict[str, list[str]] = {}
        suspects: dict[str, list[str]] = {}
        for name in self.story.unsettled:
            while self.consumers[name]:
                await self.close(name)
            caught = Catcher(settles_suspects=True)
            depth = await self.transport.queue_depths([SUBSCRIPTIONS[name]])
            consumer = await self.transport.consume(SUBSCRIPTIONS[name], caught, window_frames=1000)
            await caught.until(depth[name])
            suspects[name] = [one.frame.body.decode() for one in caught.caught if one.frame.suspect]
            found[name] = caught.bodies
            await consumer.close()
        self.story.check(found)
        for name, settled in suspects.items():
            for body in settled:
                self.story.settle(name, body)

    async def publish(self, topic: str) -> None:
        body = str(self.story.published)
        self.story.published += 1
        await self.transport.publish(frame(body, topic))
        self.story.unsettled["audit"].add(body)
        if topic == ORDER:
            self.story.unsettled["billing"].add(body)

    async def suspect(self, _: str) -> None:
        body = str(self.story.published)
        self.story.published += 1
        await self.transport.send_later("billing", frame(body, suspect=True))
        self.story.unsettled["billing"].add(body)

    async def consume(self, name: str) -> None:
        hands = self.hands[name]

        def deliver(delivered: Delivered) -> None:
            hands.append((consumer, delivered))
            body = int(delivered.frame.body)
            if name == "audit" and body not in self.audited:
                assert body > max(self.audited, default=-1), "audit is ordered"
                self.audited.add(body)

        consumer: Consumer | None = None
        consumer = await self.transport.consume(SUBSCRIPTIONS[name], deliver, window_frames=3)
        self.consumers[name].append(consumer)

    async def close(self, name: str) -> None:
        if self.consumers[name]:
            consumer = self.consumers[name].pop(0)
            await consumer.close()
            self.hands[name][:] = [hand for hand in self.hands[name] if hand[0] is not consumer]

    async def pause(self, name: str) -> None:
        for consumer in self.consumers[name][:1]:
            await consumer.pause()

    async def resume(self, name: str) -> None:
        for consumer in self.consumers[name]:
            await consumer.resume()

    async def done(self, name: str) -> None:
        if self.hands[name]:
            _, delivered = self.hands[name].pop(self.story.published % len(self.hands[name]))
            delivered.done()
            self.story.settle(name, delivered.frame.body.decode())

    async def give_back(self, name: str) -> None:
        if self.hands[name]:
            self.hands[name].pop()[1].give_back()


@pytest.mark.searches
@pytest.mark.timeout(tries(60))
@settings(max_examples=tries(100), deadline=None)
@given(steps=STEPS)
def test_whatever_happens_nothing_is_lost(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Small enough for the few frames of an example to outgrow memory and step over marks.
        patch.setattr(queues, "WINDOW_FRAMES", 4)
        patch.setattr(queues, "MARK_STEP_FRAMES", 2)
        patch.setattr(queues, "REREAD_FRAMES", 2)
        asyncio.run(Story(Path(folder)).run(steps))
