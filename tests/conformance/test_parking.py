"""Promise 8: what failed for good is kept by the transport itself until it is redriven or discarded."""

from __future__ import annotations

import asyncio

import pytest

import bus
from tests.conformance.houses import REAL, House, empty, instance, opened
from tests.conformance.messages import NUMBERS, Drawn
from tests.conformance.recording import Recorder


async def parked(b: bus.Bus, count: int) -> list[bus.Parked]:
    """What is parked, once it is that many."""
    async with asyncio.timeout(20):
        while len(found := await b.parked()) != count:
            await REAL.sleep(0.01)
    return found


async def test_parked_events_are_listed_redriven_and_discarded(house: House) -> None:
    recorder, other = Recorder(NUMBERS), Recorder("other", messages=[Drawn])
    recorder.answers = {number: bus.Reject(f"number {number}") for number in range(3)}
    async with opened(house) as b, b.serve(recorder.router, other.router):
        for number in range(5):
            await b.publish(Drawn(number), key="eu")
        first, second, third = await parked(b, 3)
        assert {each.reason for each in (first, second, third)} == {"number 0", "number 1", "number 2"}
        assert {each.subscription for each in (first, second, third)} == {"numbers"}
        recorder.answers.clear()
        await b.redrive(first.id)
        number = first.events()[0].read(Drawn).number
        await recorder.has_handled(number)
        await b.discard(second.id, "looked at it")
        assert [each.id for each in await parked(b, 1)] == [third.id]
        for gone in (first, second):
            with pytest.raises(bus.NotParked):
                await b.redrive(gone.id)
            with pytest.raises(bus.NotParked):
                await b.discard(gone.id, "again")
        await empty(b, "numbers", "other")
    assert sorted(recorder.handled) == sorted({3, 4, number})
    assert sorted(other.tried) == [0, 1, 2, 3, 4]  # redriving concerns the subscription that failed


async def test_what_is_parked_outlives_the_process_and_is_seen_by_all(house: House) -> None:
    recorder = Recorder(NUMBERS)
    recorder.answers = {number: bus.Reject("no") for number in range(200)}
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(*map(Drawn, range(200)))
        await parked(b, 200)
    recorder.answers.clear()
    async with opened(house) as b, instance(house, b) as another, another.serve(recorder.router):
        found = await parked(b, 200)
        assert sorted(each.events()[0].read(Drawn).number for each in found) == list(range(200))
        assert [each.parked_at for each in found] == sorted(each.parked_at for each in found)
        for each in found[:5]:
            await b.redrive(each.id)
        await parked(another, 195)
        await recorder.has_handled(*(each.events()[0].read(Drawn).number for each in found[:5]))


async def test_parking_needs_nobody_who_listens(house: House) -> None:
    recorder = Recorder(NUMBERS)
    recorder.answers[1] = bus.Reject("no")
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(Drawn(1))
        [only] = await parked(b, 1)
    assert only.fact.topics == ("test.number.drawn._",)


async def test_redriven_in_vain_is_parked_again_with_its_new_reason(house: House) -> None:
    recorder = Recorder(NUMBERS)
    recorder.answers[1] = bus.Reject("first")
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(Drawn(1))
        [before] = await parked(b, 1)
        recorder.answers[1] = bus.Reject("second")
        await b.redrive(before.id)
        async with asyncio.timeout(20):
            while [each.reason for each in await b.parked()] != ["second"]:
                await REAL.sleep(0.01)
