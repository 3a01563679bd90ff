from __future__ import annotations

import asyncio

import pytest

from bus.errors import DeadlinePassed, NobodyAnswers, Unavailable
from bus.transport import Frame
from deploy.stack import Server
from tests.bus.rabbitmq.inbox import CLOCK, frame, opened

STOCK = "shop.stock.of._"


async def echo(asked: Frame) -> bytes:
    return b"re: " + asked.body


async def test_a_request_is_answered(amqp_url: str) -> None:
    async with opened(amqp_url) as one, opened(amqp_url) as two:
        await two.answer("stock", ["shop.stock.*.*"], echo)
        replies = await asyncio.gather(
            *(one.request(frame(f"{number}", STOCK), timeout_s=10) for number in range(100))
        )
        assert replies == [b"re: %d" % number for number in range(100)]


async def test_nobody_answers_is_known_at_once(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        started_s = CLOCK.monotonic()
        with pytest.raises(NobodyAnswers, match=STOCK):
            await transport.request(frame("x", STOCK), timeout_s=30)
        async with opened(amqp_url) as answering:
            await answering.answer("stock", [STOCK], echo)
            await transport.request(frame("x", STOCK), timeout_s=30)
        with pytest.raises(NobodyAnswers):
            await transport.request(frame("x", STOCK), timeout_s=30)
        assert CLOCK.monotonic() - started_s < 10


async def test_a_deadline_passes_and_the_request_is_not_delivered_after_it(amqp_url: str) -> None:
    asked: list[bytes] = []

    async def answer(request: Frame) -> bytes:
        asked.append(request.body)
        if request.body == b"slow":
            await CLOCK.sleep(0.6)
        return b""

    async with opened(amqp_url) as transport:
        consumer = await transport.answer("stock", [STOCK], answer)
        with pytest.raises(DeadlinePassed, match=r"0\.2 s"):
            await transport.request(frame("slow", STOCK), timeout_s=0.2)
        assert await transport.request(frame("next", STOCK), timeout_s=10) == b"", (
            "a late reply is nobody else's"
        )
        await consumer.close()
    assert asked == [b"slow", b"next"]


async def test_a_request_waits_in_the_queue_no_longer_than_its_deadline(amqp_url: str) -> None:
    """300 slow ones fill the 256 places; what waited past its deadline is not answered when one is free."""
    asked: list[bytes] = []
    free = asyncio.Event()

    async def answer(request: Frame) -> bytes:
        asked.append(request.body)
        if len(asked) == 256:
            full.set()
        await free.wait()
        return b""

    full = asyncio.Event()
    async with opened(amqp_url) as transport:
        await transport.answer("stock", [STOCK], answer)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(256):
                tasks.create_task(transport.request(frame("early", STOCK), timeout_s=20))
            await full.wait()
            with pytest.raises(DeadlinePassed):
                await transport.request(frame("late", STOCK), timeout_s=0.1)
            free.set()
        await transport.request(frame("after", STOCK), timeout_s=10)
    assert len(asked) == 257
    assert b"late" not in asked


async def test_instances_of_one_name_divide_the_requests_and_other_names_do_not(amqp_url: str) -> None:
    names: list[str] = []

    async with opened(amqp_url) as transport:
        for name in ("one", "one", "two"):

            async def answer(request: Frame, name: str = name) -> bytes:
                names.append(name)
                return b""

            await transport.answer(name, [f"shop.{name}.#"], answer)
        for _ in range(6):
            await transport.request(frame("x", "shop.one.of._"), timeout_s=10)
        assert names == ["one"] * 6


async def test_a_request_whose_answerer_dies_is_not_given_to_another(amqp_url: str) -> None:
    """It may have been half carried out: whether to repeat it is for the one who asks to decide."""
    asked: dict[str, list[bytes]] = {"first": [], "second": []}
    begun = asyncio.Event()

    async def answer_first(request: Frame) -> bytes:
        asked["first"].append(request.body)
        begun.set()
        await asyncio.Event().wait()
        return b""

    async def answer_second(request: Frame) -> bytes:
        asked["second"].append(request.body)
        return b""

    async with opened(amqp_url) as asking, opened(amqp_url) as second:
        async with opened(amqp_url) as first, asyncio.TaskGroup() as tasks:
            await first.answer("stock", [STOCK], answer_first)
            told = tasks.create_task(_outcome(asking.request(frame("half done", STOCK), timeout_s=3)))
            await begun.wait()
            await second.answer("stock", [STOCK], answer_second)
            first._ask_link.renew()
            while begun.is_set() and first.state() == "ready":
                await CLOCK.sleep(0.01)
        # What went back to the queue stands before this one.
        await asking.request(frame("next", STOCK), timeout_s=10)
        assert isinstance(await told, DeadlinePassed)
    assert asked["first"] == [b"half done"]
    assert b"half done" not in asked["second"]
    assert b"next" in asked["second"]


async def test_closing_lets_those_in_hand_finish(amqp_url: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: Frame) -> bytes:
        begun.set()
        await go_on.wait()
        return b"finished"

    async with opened(amqp_url) as transport, asyncio.TaskGroup() as tasks:
        consumer = await transport.answer("stock", [STOCK], answer)
        asking = tasks.create_task(transport.request(frame("x", STOCK), timeout_s=10))
        await begun.wait()
        closing = tasks.create_task(consumer.close())
        while True:
            try:
                await transport.request(frame("y", STOCK), timeout_s=0.1)
            except NobodyAnswers:
                break
            except DeadlinePassed:
                pass
        go_on.set()
        await closing
        assert await asking == b"finished"


async def test_a_pause_and_a_resume_bring_the_queue_back(amqp_url: str) -> None:
    """The queue of asks goes with its last consumer."""
    async with opened(amqp_url) as transport:
        consumer = await transport.answer("stock", [STOCK], echo)
        await consumer.pause()
        with pytest.raises(NobodyAnswers):
            await transport.request(frame("x", STOCK), timeout_s=5)
        await consumer.resume()
        assert await transport.request(frame("x", STOCK), timeout_s=5) == b"re: x"


async def test_a_lost_connection_fails_requests_at_once_and_later_ones_work(
    amqp_url: str, broker: Server
) -> None:
    begun = asyncio.Event()

    async def answer(request: Frame) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    async with opened(amqp_url) as transport, opened(amqp_url) as other:
        await other.answer("stuck", ["shop.stuck.*.*"], answer)
        await other.answer("stock", [STOCK], echo)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(
                _outcome(transport.request(frame("x", "shop.stuck.of._"), timeout_s=30))
            )
            await begun.wait()
            await asyncio.to_thread(broker.control, "close_all_connections", "--global", "a test")
            assert isinstance(await asking, Unavailable)
        async with asyncio.timeout(15):
            while isinstance(
                answered := await _outcome(transport.request(frame("x", STOCK), timeout_s=5)), Exception
            ):
                assert isinstance(answered, Unavailable | NobodyAnswers | DeadlinePassed)
        assert answered == b"re: x"


async def _outcome(request: object) -> object:
    try:
        return await request  # type: ignore[misc]
    except Exception as error:
        return error


async def test_signals_are_heard_by_all_who_listen_and_by_nobody_else(amqp_url: str) -> None:
    async with opened(amqp_url) as one, opened(amqp_url) as two:
        heard: asyncio.Queue[tuple[str, Frame]] = asyncio.Queue()
        await one.listen(["beat.#"], lambda signal: heard.put_nowait(("one", signal)))
        consumer = await two.listen(["beat.heart.*"], lambda signal: heard.put_nowait(("two", signal)))
        await one.signal(frame("nobody", "other.thing._"))
        await one.signal(frame("x", "beat.heart._"))
        both = {(await heard.get())[0], (await heard.get())[0]}
        assert both == {"one", "two"}
        await consumer.close()
        await two.signal(frame("y", "beat.heart._"))
        assert (await heard.get()) == ("one", frame("y", "beat.heart._"))
        assert heard.empty()
