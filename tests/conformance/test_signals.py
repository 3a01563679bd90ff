"""Signals are heard by whoever listens at the moment, and by nobody after."""

from __future__ import annotations

import asyncio

import bus
from tests.conformance.houses import REAL, House, instance, opened, until
from tests.conformance.messages import Beat


class Ears:
    def __init__(self, key: str = "*") -> None:
        self.heard: list[int] = []
        self.router = bus.Router("ears")
        self.router.on(Beat, self.on_beat, key=key)

    async def on_beat(self, beat: Beat, delivery: bus.Delivery) -> None:
        self.heard.append(beat.number)


async def test_everybody_who_listens_hears_and_only_what_matches(house: House) -> None:
    one, other, picky = Ears(), Ears(), Ears("eu")
    async with (
        opened(house) as b,
        instance(house, b) as second,
        b.serve(one.router, picky.router),
        second.serve(other.router),
    ):
        for number in range(20):
            await b.signal(Beat(number), key="eu" if number % 2 else "us")
        await until(lambda: len(one.heard) == len(other.heard) == 20 and len(picky.heard) == 10)
    assert one.heard == other.heard == list(range(20))
    assert picky.heard == list(range(1, 20, 2))


async def test_nothing_is_kept_for_those_who_come_later(house: House) -> None:
    ears = Ears()
    async with opened(house) as b:
        await b.signal(Beat(1))
        async with b.serve(ears.router):
            await b.signal(Beat(2))
            await until(lambda: ears.heard)
        await b.signal(Beat(3))
        async with b.serve(ears.router):
            await b.signal(Beat(4))
            await until(lambda: len(ears.heard) >= 2)
    assert ears.heard == [2, 4]


async def test_signals_disturb_no_subscription(house: House) -> None:
    seen: list[object] = []

    async def on_event(event: bus.Event, delivery: bus.Delivery) -> None:
        seen.append(event)

    router = bus.Router("everything")
    router.on_event("#", on_event)
    ears = Ears()
    async with opened(house) as b, b.serve(router, ears.router):
        await b.signal(Beat(1))
        await until(lambda: ears.heard)
        assert seen == []


async def test_a_listener_that_is_stuck_stops_neither_the_sender_nor_other_listeners(house: House) -> None:
    stuck, ears = bus.Router("stuck"), Ears()
    gate = asyncio.Event()

    @stuck.on(Beat)
    async def on_beat(beat: Beat, delivery: bus.Delivery) -> None:
        await gate.wait()

    async with opened(house) as b, b.serve(stuck, ears.router):
        async with asyncio.timeout(20):
            for number in range(3000):
                await b.signal(Beat(number))
                if number % 500 == 499:
                    while len(ears.heard) <= number:
                        await REAL.sleep(0.002)
    assert ears.heard == list(range(3000))
