"""Promise 5: one reply, or an error that tells apart nobody, too late, and no."""

from __future__ import annotations

import asyncio

import pytest

import bus
from tests.conformance.houses import REAL, House, instance, opened
from tests.conformance.messages import Sum, SumOf
from tests.conformance.workers import worker


class Sums:
    """Answers `SumOf`; the first number says how."""

    def __init__(self, name: str = "sums") -> None:
        self.name = name
        self.asked = self.running = 0
        self.all_there = asyncio.Event()
        self.hanging = asyncio.Event()
        self.router = bus.Router("sums")
        self.router.answers(SumOf, self.answer_sum_of)

    async def answer_sum_of(self, ask: SumOf, delivery: bus.Delivery) -> Sum:
        self.asked += 1
        match ask.numbers:
            case [-1, *_]:
                raise bus.Refused("negative", "no negative numbers")
            case [-2, *_]:
                raise bus.Unavailable("no calculator")
            case [-3, *_]:
                raise ZeroDivisionError
            case [-4, *_]:
                self.hanging.set()
                await asyncio.Event().wait()
            case [-5, *_]:
                self.running += 1
                if self.running == 50:
                    self.all_there.set()
                await self.all_there.wait()
        return Sum(sum(ask.numbers), self.name)


async def test_answered(house: House) -> None:
    async with opened(house) as b, b.serve(Sums().router), instance(house, b) as other:
        assert await b.ask(SumOf([1, 2])) == Sum(3, "sums")
        assert await other.ask(SumOf([1, 2]), key="eu") == Sum(3, "sums")
        large = await b.ask(SumOf([1] * 500_000))
        assert large.total == 500_000


async def test_refused_unavailable_and_failed(house: House) -> None:
    async with opened(house) as b, b.serve(Sums().router):
        with pytest.raises(bus.Refused, match="no negative numbers") as raised:
            await b.ask(SumOf([-1]))
        assert raised.value.reason == "negative"
        with pytest.raises(bus.Unavailable, match="no calculator"):
            await b.ask(SumOf([-2]))
        with pytest.raises(bus.AskFailed, match="ZeroDivisionError"):
            await b.ask(SumOf([-3]))


async def test_nobody(house: House) -> None:
    """Told at once, before anybody served it and after a clean stop."""
    async with opened(house) as b:
        async with asyncio.timeout(1):
            with pytest.raises(bus.NobodyAnswers):
                await b.ask(SumOf([1]))
        async with b.serve(Sums().router):
            await b.ask(SumOf([1]))
        async with asyncio.timeout(1):
            with pytest.raises(bus.NobodyAnswers):
                await b.ask(SumOf([1]))


async def test_the_deadline_passes(house: House) -> None:
    sums = Sums()
    router = bus.Router("sums", deadline_s=0.3)  # so that leaving does not wait for it
    router.answers(SumOf, sums.answer_sum_of)
    async with opened(house) as b, b.serve(router):
        with pytest.raises(bus.DeadlinePassed):
            await b.ask(SumOf([-4]), timeout_s=0.1)
        assert sums.hanging.is_set()
        assert await b.ask(SumOf([1])) == Sum(1, "sums")


async def test_asks_are_answered_concurrently(house: House) -> None:
    async with opened(house) as b, b.serve(Sums().router):
        async with asyncio.TaskGroup() as tasks:
            asks = [tasks.create_task(b.ask(SumOf([-5, number]))) for number in range(50)]
        assert [ask.result().total for ask in asks] == [number - 5 for number in range(50)]


async def test_many_asks_each_get_their_own_answer_whoever_answers(house: House) -> None:
    one, other = Sums("one"), Sums("other")
    async with opened(house) as b, instance(house, b) as second:
        async with b.serve(one.router), second.serve(other.router):
            async with asyncio.TaskGroup() as tasks:
                asks = [tasks.create_task(b.ask(SumOf([number]))) for number in range(400)]
            assert [ask.result().total for ask in asks] == list(range(400))
            assert one.asked + other.asked == 400
            assert min(one.asked, other.asked) > 20
        with pytest.raises(bus.NobodyAnswers):
            await b.ask(SumOf([1]))


async def test_leaving_finishes_the_answer_in_hand(house: House) -> None:
    sums = Sums()
    async with opened(house) as b, asyncio.TaskGroup() as tasks:
        async with b.serve(sums.router):
            asks = [tasks.create_task(b.ask(SumOf([-5, number]))) for number in range(49)]
            async with asyncio.timeout(10):
                while sums.running < 49:
                    await REAL.sleep(0.002)
            tasks.create_task(_set_soon(sums.all_there))
        assert [(await ask).total for ask in asks] == [number - 5 for number in range(49)]


async def _set_soon(event: asyncio.Event) -> None:
    await REAL.sleep(0.05)
    event.set()


@pytest.mark.capability("many processes")
async def test_nobody_after_the_answering_process_was_killed(house: House) -> None:
    async with opened(house) as b, worker(house, "answer", "mortal") as answering:
        await answering.says("ready")
        assert (await b.ask(SumOf([1, 2]))).answered_by == "mortal"
        await answering.kill()
        async with asyncio.timeout(15):
            while True:
                try:
                    await b.ask(SumOf([1]), timeout_s=0.5)
                except bus.NobodyAnswers:
                    break
                except bus.DeadlinePassed:
                    continue
