"""`bus.transport`'s promises as the port itself makes them: frames, windows, returns, suspects, pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bus.clock import SystemClock
from bus.errors import NotRouted
from bus.message import Subscription
from bus.transport import Delivered, Frame, Transport
from tests.conformance.houses import REAL, House, until

JOBS = Subscription("jobs", ("job.#",))
IN_ORDER = Subscription("in-order", ("job.#",), mode="ordered")
TOPIC = "job.thing.done._"


def frame(number: int, **changes: object) -> Frame:
    return Frame(f"{number}".encode(), (TOPIC,), **changes)  # type: ignore[arg-type]


def numbered(delivered: Delivered) -> int:
    return int(delivered.frame.body)


class Hands:
    """What was delivered; settled at once if `settle` says so."""

    def __init__(self, settle: Callable[[Delivered], None] | None = None) -> None:
        self.arrived: list[Delivered] = []
        self._settle = settle

    def __call__(self, delivered: Delivered) -> None:
        self.arrived.append(delivered)
        if self._settle is not None:
            self._settle(delivered)

    @property
    def numbers(self) -> list[int]:
        return [numbered(delivered) for delivered in self.arrived]

    async def hold(self, count: int) -> None:
        await until(lambda: len(self.arrived) >= count)


async def quiet(hands: Hands) -> None:
    """Return once nothing has been delivered for a while that is long for a transport."""
    count = -1
    while count != len(hands.arrived):
        count = len(hands.arrived)
        await REAL.sleep(0.1)


async def depth(transport: Transport) -> int:
    return (await transport.queue_depths([JOBS]))["jobs"]


async def test_a_frame_comes_as_it_was_sent(house: House) -> None:
    hands = Hands()
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        sent = Frame(
            b"\x00\xff", (TOPIC,), "application/json", {"cloudEvents:id": "1", "cloudEvents:subject": "é"}
        )
        await transport.publish(sent)
        await hands.hold(1)
        assert hands.arrived[0].frame == sent
        assert hands.arrived[0].returned == 0
        hands.arrived[0].done()


async def test_what_is_unsettled_is_bounded_by_the_window(house: House) -> None:
    hands = Hands()
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands, window_frames=10)
        for number in range(40):
            await transport.publish(frame(number))
        await quiet(hands)
        assert len(hands.arrived) == 10
        assert await depth(transport) == 40
        for delivered in hands.arrived[2:5]:
            delivered.done()
        await hands.hold(13)
        await quiet(hands)
        assert len(hands.arrived) == 13
        for delivered in hands.arrived[:2] + hands.arrived[5:13]:
            delivered.done()
        await hands.hold(23)
        assert sorted(hands.numbers) == list(range(23))


async def test_what_comes_back_is_counted_and_done_is_for_ever(house: House) -> None:
    def give_back_twice(delivered: Delivered) -> None:
        if delivered.returned < 2:
            delivered.give_back()
        else:
            delivered.done()

    hands = Hands(give_back_twice)
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        for number in range(5):
            await transport.publish(frame(number))
        await hands.hold(15)
        await quiet(hands)
        assert sorted(hands.numbers) == sorted([*range(5)] * 3)
        assert await depth(transport) == 0


async def test_a_hundred_returns_drop_nothing(house: House) -> None:
    def settle(delivered: Delivered) -> None:
        if delivered.returned < 100:
            delivered.give_back()
        else:
            delivered.done()

    hands = Hands(settle)
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        await transport.publish(frame(7))
        await hands.hold(101)
        assert set(hands.numbers) == {7}


async def test_closing_a_consumer_returns_what_it_held(house: House) -> None:
    first, second = Hands(), Hands(lambda delivered: delivered.done())
    async with house.transport(SystemClock()) as transport:
        consumer = await transport.consume(JOBS, first, window_frames=5)
        for number in range(10):
            await transport.publish(frame(number))
        await first.hold(5)
        first.arrived[0].done()
        await consumer.close()
        await consumer.close()
        first.arrived[1].done()  # too late: ignored
        await transport.consume(JOBS, second)
        await second.hold(9)
        await quiet(second)
        assert sorted(second.numbers) == list(range(1, 10))
        returned = {numbered(delivered): delivered.returned for delivered in second.arrived}
        once = {number for number, count in returned.items() if count}
        assert {*range(1, 5)} <= once <= {*range(1, 6)}  # one more may have been on its way, for the one done
        assert max(returned.values()) == 1


async def test_a_paused_consumer_gets_nothing_until_it_is_resumed(house: House) -> None:
    hands = Hands()
    async with house.transport(SystemClock()) as transport:
        consumer = await transport.consume(JOBS, hands)
        await transport.publish(frame(0))
        await hands.hold(1)
        await consumer.pause()
        await transport.publish(frame(1))
        await quiet(hands)
        assert hands.numbers == [0]
        hands.arrived[0].done()  # what it held before stays its own
        await consumer.resume()
        await hands.hold(2)
        hands.arrived[1].done()
        await quiet(hands)
        assert hands.numbers == [0, 1]


async def test_suspects_are_delivered_one_at_a_time_beside_others(house: House) -> None:
    hands = Hands()
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        for number in range(5):
            await transport.send_later("jobs", frame(number, suspect=True))
        for number in range(10, 15):
            await transport.publish(frame(number))
        await hands.hold(6)
        await quiet(hands)
        suspects = [delivered for delivered in hands.arrived if delivered.frame.suspect]
        assert len(suspects) == 1
        assert len(hands.arrived) == 6
        for expected in range(2, 6):
            suspects[-1].done()
            await hands.hold(5 + expected)
            suspects = [delivered for delivered in hands.arrived if delivered.frame.suspect]
            assert len(suspects) == expected
        assert sorted(numbered(delivered) for delivered in suspects) == list(range(5))
        assert {delivered.returned for delivered in suspects} == {0}


async def test_a_suspects_returns_count_only_losses_in_hand(house: House) -> None:
    first, second = Hands(), Hands()
    async with house.transport(SystemClock()) as transport:
        consumer = await transport.consume(JOBS, first)
        for number in range(3):
            await transport.send_later("jobs", frame(number, suspect=True))
        await first.hold(1)
        await consumer.close()
        await transport.consume(JOBS, second)
        for count in range(1, 4):
            await second.hold(count)
            second.arrived[-1].done()
        returned = {numbered(delivered): delivered.returned for delivered in second.arrived}
        assert returned == {0: 1, 1: 0, 2: 0}


async def test_an_ordered_queue_keeps_its_order_over_returns_and_consumers(house: House) -> None:
    first, second = Hands(), Hands()
    async with house.transport(SystemClock()) as transport:
        consumer = await transport.consume(IN_ORDER, first)
        await transport.consume(IN_ORDER, second)
        for number in range(30):
            await transport.publish(frame(number))
        await first.hold(30)
        assert first.numbers == list(range(30))
        assert second.numbers == []
        for delivered in first.arrived[:10]:
            delivered.done()
        await consumer.close()
        await second.hold(20)
        assert second.numbers == list(range(10, 30))


async def test_what_is_sent_later_keeps_what_is_known_of_it(house: House) -> None:
    hands = Hands(lambda delivered: delivered.done())
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        now = SystemClock().now()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        sent = frame(1, attempt=3, first_failed_at=now, last_error="ValueError: täglich")
        await transport.send_later("jobs", sent)
        await hands.hold(1)
        assert hands.arrived[0].frame == sent


async def test_one_copy_a_queue_however_many_topics_match(house: House) -> None:
    hands, other = Hands(lambda each: each.done()), Hands(lambda each: each.done())
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        await transport.consume(Subscription("few", ("job.few.#",)), other)
        topics = tuple(f"job.many.k{number}" for number in range(200))
        await transport.publish(Frame(b"1", topics))
        await transport.publish(Frame(b"2", (*topics, "job.few.k")))
        await hands.hold(2)
        await other.hold(1)
        await quiet(hands)
        assert (hands.numbers, other.numbers) == ([1, 2], [2])
        with pytest.raises(NotRouted):
            await transport.publish(Frame(b"3", ("nowhere.to.go", "nowhere.at.all")))


async def test_it_is_ready_on_entry_and_closed_after(house: House) -> None:
    async with house.transport(SystemClock()) as transport:
        assert transport.state() == "ready"
        await transport.wait_ready()
        assert transport.name == house.name
    assert transport.state() == "closed"


async def test_concurrent_publishes_are_all_confirmed(house: House) -> None:
    hands = Hands(lambda delivered: delivered.done())
    async with house.transport(SystemClock()) as transport:
        await transport.consume(JOBS, hands)
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(transport.publish(frame(number)))
        await hands.hold(1000)
        await quiet(hands)
    assert sorted(hands.numbers) == list(range(1000))
