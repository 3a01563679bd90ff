"""What RabbitMQ alone can do to its clients: die under load, block publishers, lose queues, hold other
arguments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import bus
from bus.message import Subscription
from deploy.stack import Server
from tests.conformance.houses import REAL, House, depth, empty, opened, until
from tests.conformance.messages import LEDGER, NUMBERS, Beat, Drawn, Moved, Sum, SumOf
from tests.conformance.recording import Recorder
from tests.vhosts import QUEUES_REGISTERED_S


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_the_broker_is_killed_twice_under_load(rabbitmq: House, broker: Server) -> None:
    """10 000 events of 100 publishers, retries among them; the broker dies at a third and at half."""
    recorder = Recorder(NUMBERS, concurrency=16)
    recorder.answers = {number: ValueError("once") for number in range(0, 10_000, 500)}
    failed: set[int] = set()
    original = recorder.on_number

    async def on_drawn(drawn: Drawn, delivery: bus.Delivery) -> None:
        try:
            await original(drawn, delivery)
        except ValueError:
            failed.add(drawn.number)
            recorder.answers.pop(drawn.number, None)
            raise

    router = bus.Router(NUMBERS, concurrency=16, retry_delays_s=recorder.router.retry_delays_s)
    router.on(Drawn, on_drawn)
    async with opened(rabbitmq) as b, opened(rabbitmq, "publishers") as publishers, b.serve(router):

        async def publish(publisher: int) -> None:
            for number in range(100):
                await publishers.publish(Drawn(publisher * 100 + number), timeout_s=100)

        await REAL.sleep(QUEUES_REGISTERED_S)
        async with asyncio.TaskGroup() as tasks:
            for publisher in range(100):
                tasks.create_task(publish(publisher))
            for share in (3333, 5000):
                await until(lambda share=share: len(set(recorder.handled)) >= share, 60)  # type: ignore[misc]
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
        await until(lambda: len(set(recorder.handled)) >= 10_000, 60)
        await empty(b, "numbers")
        assert await b.parked() == []
    assert set(recorder.handled) == set(range(10_000))
    assert len(failed) == 20
    # The inbox of one process drops what it has seen, so only what two workers had at once can repeat.
    assert len(recorder.handled) - 10_000 < 500


@pytest.mark.slow
async def test_everything_goes_on_after_a_restart_of_the_broker(rabbitmq: House, broker: Server) -> None:
    """Shared, ordered and every_instance subscriptions, asks and signals, without anybody's help."""
    shared, ordered = Recorder(NUMBERS, messages=[Drawn]), Recorder(LEDGER, messages=[Moved])
    live = Recorder("live", mode="every_instance", messages=[Drawn])
    heard: list[int] = []
    other = bus.Router("other")

    @other.on(Beat)
    async def on_beat(beat: Beat, delivery: bus.Delivery) -> None:
        heard.append(beat.number)

    @other.answers(SumOf)
    async def answer_sum_of(ask: SumOf, delivery: bus.Delivery) -> Sum:
        return Sum(sum(ask.numbers), "other")

    async with opened(rabbitmq) as b, b.serve(shared.router, ordered.router, live.router, other):
        for number in range(10):
            await b.publish(Drawn(number))
            await b.publish(Moved(number), subject="s")
        await shared.has_handled(*range(10))
        await ordered.has_handled(*range(10))
        await asyncio.to_thread(broker.restart)
        for number in range(10, 20):
            await b.publish(Drawn(number), timeout_s=30)
            await b.publish(Moved(number), subject="s", timeout_s=30)
        await shared.has_handled(*range(20))
        await ordered.has_handled(*range(20))
        assert [number for number in ordered.handled if number >= 10] == list(range(10, 20))
        async with asyncio.timeout(30):
            # These live as long as their connections: what is said before they are mended is not heard.
            while 100 not in live.handled:
                await b.publish(Drawn(100))
                await REAL.sleep(0.02)
            while not heard:
                await b.signal(Beat(1))
                await REAL.sleep(0.02)
            while True:
                try:
                    assert await b.ask(SumOf([1, 2]), timeout_s=1) == Sum(3, "other")
                    break
                except (bus.AskFailed, bus.Unavailable):
                    await REAL.sleep(0.02)
        await empty(b, "numbers", "ledger")


ALARMED = """
(fun Look() -> case rabbit_alarm:get_alarms() of [] -> timer:sleep(10), Look(); _ -> ok end end)().
"""


@asynccontextmanager
async def blocked(broker: Server) -> AsyncIterator[None]:
    """A broker without memory to spare: it blocks every connection that publishes."""
    await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.0000001")
    try:
        await asyncio.to_thread(broker.control, "eval", ALARMED)  # a connection hears of it after the command
        yield
    finally:
        await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.4")


@pytest.mark.slow
async def test_a_blocked_publisher_waits_while_consumers_go_on(rabbitmq: House, broker: Server) -> None:
    recorder = Recorder(NUMBERS)
    gate = recorder.answers[0] = asyncio.Event()
    async with opened(rabbitmq) as b, b.serve(recorder.router):
        await b.publish(Drawn(0))
        await recorder.has_tried(0)
        async with asyncio.TaskGroup() as tasks:
            async with blocked(broker):
                waiting = tasks.create_task(b.publish(Drawn(1)))
                with pytest.raises(bus.Unavailable):
                    await b.publish(Drawn(2), timeout_s=0.5)
                gate.set()
                await recorder.has_handled(0)
                assert not waiting.done()
            await waiting
        await b.publish(Drawn(3))
        await recorder.has_handled(1, 3)
        await empty(b, "numbers")


async def test_another_process_declared_other_arguments(rabbitmq: House) -> None:
    """The queue and the argument are named, the connection is as good as before, and nothing is lost."""
    async with opened(rabbitmq, declare=[NUMBERS]) as b:
        await b.publish(Drawn(1))
    recorder = Recorder(NUMBERS)
    async with opened(rabbitmq) as b:
        with pytest.raises(bus.TopologyDiffers, match=r"numbers.*x-single-active-consumer"):
            await b.declare(Subscription("numbers", NUMBERS.patterns, mode="ordered"))
        with pytest.raises(bus.TopologyDiffers, match="numbers"):
            await _serve(b, Subscription("numbers", NUMBERS.patterns, mode="ordered"))
        async with b.serve(recorder.router):
            await b.publish(Drawn(2))
            await recorder.has_handled(1, 2)


async def _serve(b: bus.Bus, subscription: Subscription) -> None:
    async with b.serve(Recorder(subscription).router):
        pass


async def test_a_healthy_consumer_survives_one_whose_arguments_drifted(rabbitmq: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(rabbitmq) as b, b.serve(recorder.router):
        for number in range(20):
            with pytest.raises(bus.TopologyDiffers):
                await b.declare(Subscription("numbers", NUMBERS.patterns, mode="ordered"))
            await b.publish(Drawn(number))
        await recorder.has_handled(*range(20))


@pytest.mark.slow
async def test_a_queue_that_is_deleted_under_its_consumer_comes_back(rabbitmq: House, broker: Server) -> None:
    recorder = Recorder(NUMBERS)
    vhost = rabbitmq.address.rsplit("/", 1)[1]
    async with opened(rabbitmq) as b, b.serve(recorder.router):
        await b.publish(Drawn(1))
        await recorder.has_handled(1)
        await empty(b, "numbers")
        await asyncio.to_thread(broker.control, "delete_queue", "--vhost", vhost, "numbers")
        async with asyncio.timeout(20):
            while 2 not in recorder.handled:
                try:
                    await b.publish(Drawn(2), id="two")
                except bus.NotRouted:
                    continue
                await REAL.sleep(0.05)
        assert await depth(b, "numbers") >= 0
