"""Promises 2 and 4: instances share a subscription, one in order has one active instance, each process has
its own where that was asked for; and whoever dies, nothing is lost."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest

from bus.router import Delivery
from bus.testing import turns
from tests.conformance.houses import House, empty, instance, opened, until
from tests.conformance.messages import LEDGER, NUMBERS, Drawn, Moved
from tests.conformance.recording import Recorder
from tests.conformance.workers import worker


async def test_three_instances_of_one_subscription_share_the_work(house: House) -> None:
    recorders = [Recorder(NUMBERS, concurrency=1) for _ in range(3)]
    gate = asyncio.Event()
    for recorder in recorders:
        recorder.answers = dict.fromkeys(range(3), gate)
    async with opened(house) as b, AsyncExitStack() as running:
        for recorder in recorders:
            mine = await running.enter_async_context(instance(house, b))
            await running.enter_async_context(mine.serve(recorder.router))
        for number in range(300):
            await b.publish(Drawn(number))
            if number == 2:  # each instance has one of the first three in hand
                await until(lambda: all(recorder.running for recorder in recorders))
                gate.set()
        await until(lambda: sum(len(recorder.handled) for recorder in recorders) >= 300)
        await empty(b, "numbers")
    assert sorted(number for recorder in recorders for number in recorder.handled) == list(range(300))
    assert min(len(recorder.handled) for recorder in recorders) >= 20


@pytest.mark.capability("many processes")
async def test_the_consuming_process_is_killed_in_the_middle_of_a_batch(house: House) -> None:
    async with opened(house, declare=[NUMBERS]) as b:
        await b.publish(*map(Drawn, range(200)))
        async with worker(house, "consume", "--hang-at", 100) as consumer:
            await consumer.says("hanging 100")
            await consumer.kill()
        assert consumer.numbers("handled") == list(range(100))
        recorder = Recorder(NUMBERS)
        async with b.serve(recorder.router):
            await recorder.has_handled(*range(200))
            await empty(b, "numbers")
            assert await b.parked() == []
    assert set(recorder.attempts) == {0}


async def test_the_process_is_killed_in_the_middle_of_a_batch_and_started_again(house: House) -> None:
    async with opened(house, declare=[NUMBERS]) as b:
        await b.publish(*map(Drawn, range(200)))
    async with worker(house, "consume", "--hang-at", 100) as consumer:
        await consumer.says("hanging 100")
        await consumer.kill()
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await recorder.has_handled(*range(200))
        await empty(b, "numbers")
        assert await b.parked() == []
    assert sorted(recorder.handled) == list(range(200))


async def test_an_event_that_kills_its_worker_among_two_hundred_healthy_ones(house: House) -> None:
    """It is parked in the end, however often its worker is started again; every healthy one is handled."""
    async with opened(house, declare=[NUMBERS]) as b:
        await b.publish(*map(Drawn, range(201)))
    handled: list[int] = []
    deaths = 0
    while deaths < 10:
        async with worker(house, "consume", "--die-at", 77, "--until-parked") as consumer:
            ended = await consumer.ended()
            handled += consumer.numbers("handled")
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            deaths += 1
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await empty(b, "numbers")
        [parked] = await b.parked()
    assert [event.read(Drawn).number for event in parked.events()] == [77]
    assert "its worker died" in parked.reason
    assert parked.subscription == "numbers"
    assert 77 not in recorder.handled
    assert {*handled, *recorder.handled} == {*range(201)} - {77}
    assert 4 <= deaths <= 6  # two in its batch (a transport may count one too many or too few), three alone


async def test_every_instance_hears_everything_that_happens_while_it_runs(house: House) -> None:
    one, other, late = (Recorder("live", mode="every_instance") for _ in range(3))
    async with opened(house, declare=[NUMBERS]) as b, instance(house, b) as second:
        async with b.serve(one.router), second.serve(other.router):
            for number in range(50):
                await b.publish(Drawn(number))
            await one.has_handled(*range(50))
            await other.has_handled(*range(50))
            async with b.serve(late.router):
                await b.publish(Drawn(50))
                await late.has_handled(50)
                await one.has_handled(50)
        await b.publish(Drawn(51))  # nobody listens any more
        async with b.serve(late.router):
            await b.publish(Drawn(52))
            await late.has_handled(52)
    assert one.handled == list(range(51))
    assert late.handled == [50, 52]


async def test_an_ordered_subscription_keeps_the_order_and_a_survivor_takes_over(house: House) -> None:
    one, other = Recorder(LEDGER), Recorder(LEDGER)
    async with opened(house) as b, instance(house, b) as second, AsyncExitStack() as running:
        await running.enter_async_context(b.serve(one.router))
        async with second.serve(other.router):
            async with asyncio.TaskGroup() as tasks:
                for number in range(1000):
                    tasks.create_task(b.publish(Moved(number), subject="s"))
            await one.has_handled(*range(1000))
            assert other.handled == []
            hanging = one.answers[1000] = asyncio.Event()
            await b.publish(Moved(1000), subject="s")
            await one.has_tried(1000)
            async with asyncio.TaskGroup() as tasks:
                for number in range(1001, 2000):
                    tasks.create_task(b.publish(Moved(number), subject="s"))
            hanging.set()
            await running.aclose()
            await until(lambda: len(one.handled) + len(other.handled) >= 2000)
            await empty(b, "ledger")
    assert one.handled + other.handled == list(range(2000))
    assert other.handled


@pytest.mark.capability("many processes")
async def test_an_ordered_subscription_goes_on_in_order_when_its_active_instance_is_killed(
    house: House,
) -> None:
    async with worker(house, "consume", "--ordered", "--hang-at", 50) as active:
        await active.says("ready")
        recorder = Recorder(LEDGER)
        async with opened(house) as b, b.serve(recorder.router):
            for number in range(100):
                await b.publish(Moved(number), subject="s")
            await active.says("hanging 50")
            assert recorder.handled == []
            await active.kill()
            await recorder.has_handled(*range(50, 100))
            await empty(b, "ledger")
        done = active.numbers("handled")
    assert done == list(range(50))
    assert [number for number in recorder.handled if number >= 50] == list(range(50, 100))


async def test_a_failing_subject_of_an_ordered_subscription_holds_back_nobody_else(house: House) -> None:
    recorder = Recorder(LEDGER)
    recorder.answers[1] = ValueError("not yet")
    async with opened(house) as b, b.serve(recorder.router):
        for number in range(4):
            await b.publish(Moved(number), subject="bad")
            await b.publish(Moved(10 + number), subject="good")
        await recorder.has_handled(0, 10, 11, 12, 13)
        await recorder.has_tried(1, 2)
        assert recorder.handled == [0, 10, 11, 12, 13]
        del recorder.answers[1]
        await recorder.has_handled(1, 2, 3)
        await empty(b, "ledger")
    assert [number for number in recorder.handled if number < 10] == [0, 1, 2, 3]


async def test_leaving_finishes_what_is_in_hand_and_gives_the_rest_to_others(house: House) -> None:
    one, other = Recorder(NUMBERS, concurrency=2), Recorder(NUMBERS)
    gate = asyncio.Event()
    one.answers = dict.fromkeys(range(100), gate)
    async with opened(house) as b:
        async with asyncio.TaskGroup() as tasks:
            leave = asyncio.Event()

            async def serve() -> None:
                async with b.serve(one.router):
                    await leave.wait()

            serving = tasks.create_task(serve())
            await b.declare(NUMBERS)
            for number in range(100):
                await b.publish(Drawn(number))
            await until(lambda: one.running == 2)
            leave.set()
            await turns()
            assert not serving.done()
            gate.set()
        assert len(one.handled) == 2
        async with b.serve(other.router):
            await other.has_handled(*({*range(100)} - {*one.handled}))
            await empty(b, "numbers")
    assert sorted(one.handled + other.handled) == list(range(100))
    assert set(other.attempts) == {0}


@pytest.mark.capability("many processes")
async def test_a_process_that_is_told_to_end_drains(house: House) -> None:
    async with opened(house, declare=[NUMBERS]) as b, worker(house, "consume") as consumer:
        await consumer.says("ready")
        await b.publish(*map(Drawn, range(50)))
        await consumer.says_many("handled", 1)
        await consumer.terminate()
        assert consumer.told[-1] == "drained"
        recorder = Recorder(NUMBERS)
        async with b.serve(recorder.router):
            await empty(b, "numbers")
    assert sorted(consumer.numbers("handled") + recorder.handled) == list(range(50))


async def test_what_is_unsettled_at_one_consumer_is_bounded(house: House) -> None:
    recorder = Recorder(NUMBERS, concurrency=1)
    gate = recorder.answers[0] = asyncio.Event()
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(Drawn(0))
        await recorder.has_tried(0)
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, 41):
                tasks.create_task(b.publish(Drawn(number, b"x" * 900_000)))
        await turns()
        [subscriber] = b.subscribers
        held = subscriber._queue.qsize()
        # Frames that were on their way when the window closed come too; unbounded, all 40 would be here.
        assert 1 <= held <= 32, "8 MiB of about 1 MiB each, whatever the number of frames"
        gate.set()
        await recorder.has_handled(*range(41))


async def test_a_duplicate_is_handled_once(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        event = b.envelop(Drawn(1))
        for _ in range(5):
            await b.emit(event)
        await b.publish(Drawn(2))
        await recorder.has_handled(1, 2)
        await empty(b, "numbers")
    assert recorder.counts == {1: 1, 2: 1}


async def test_causes_are_stamped_through_a_chain_of_handlers(house: House) -> None:
    recorder = Recorder("tail", messages=[Moved])
    chain = Recorder("head", messages=[Drawn])

    async def on_drawn(drawn: Drawn, delivery: Delivery) -> None:
        await delivery.publish(Moved(drawn.number), subject="s")

    chain.router.on(Drawn, on_drawn)
    async with opened(house) as b, b.serve(chain.router, recorder.router):
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(b.publish(Drawn(number), id=f"cause-{number}", key=f"k{number}"))
        await recorder.has_handled(*range(20))
    stamped = {(event.key, event.causationid, event.correlationid) for event in recorder.events}
    assert stamped == {(f"k{number}", f"cause-{number}", f"cause-{number}") for number in range(20)}
