"""Asks and signals within one process."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from bus.embedded import EmbeddedTransport, asking
from bus.errors import DeadlinePassed, NobodyAnswers, Unavailable
from bus.testing import turns
from bus.transport import Answer, Frame
from tests.bus.embedded.catching import frame

ASK = frame("how many?", "shop.stock.of.tea")
PATTERNS = ("shop.stock.of.*",)


async def test_a_request_is_answered(transport: EmbeddedTransport) -> None:
    async def answer(asked: Frame) -> bytes:
        return asked.body + b" three"

    await transport.answer("stock", PATTERNS, answer)
    assert await transport.request(ASK, timeout_s=1) == b"how many? three"


async def test_nobody_answers_is_told_at_once(transport: EmbeddedTransport) -> None:
    with pytest.raises(NobodyAnswers, match=r"shop\.stock\.of\.tea"):
        await transport.request(ASK, timeout_s=1000)
    answerer = await transport.answer("other", ("shop.other.#",), _nothing)
    with pytest.raises(NobodyAnswers):
        await transport.request(ASK, timeout_s=1000)
    await answerer.close()
    await answerer.close()


async def test_instances_of_one_name_divide_the_requests(transport: EmbeddedTransport) -> None:
    counts = [0, 0, 0]

    def instance(number: int) -> Answer:
        async def answer(_: Frame) -> bytes:
            counts[number] += 1
            return b""

        return answer

    for number in range(3):
        await transport.answer("stock", PATTERNS, instance(number))
    for _ in range(9):
        await transport.request(ASK, timeout_s=1)
    assert counts == [3, 3, 3]


async def test_a_passed_deadline_is_told_and_what_waits_is_not_delivered(
    transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_AT_ONCE", 2)
    asked: list[bytes] = []
    go_on = asyncio.Event()

    async def answer(question: Frame) -> bytes:
        asked.append(question.body)
        await go_on.wait()
        return b"late"

    await transport.answer("stock", PATTERNS, answer)
    async with asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(transport.request(ASK, timeout_s=10)) for _ in range(2)]
        await turns()
        with pytest.raises(DeadlinePassed, match=r"0\.01 s"):
            await transport.request(frame("third", "shop.stock.of.tea"), timeout_s=0.01)
        go_on.set()
    assert [task.result() for task in held] == [b"late", b"late"]
    assert asked == [ASK.body] * 2


async def test_closing_lets_what_is_in_hand_finish_and_passes_on_the_rest(
    transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_AT_ONCE", 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Frame) -> bytes:
        begun.set()
        await go_on.wait()
        return b"slow"

    async def quick(_: Frame) -> bytes:
        return b"quick"

    closing = await transport.answer("stock", PATTERNS, slow)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(transport.request(ASK, timeout_s=5))
        second = tasks.create_task(transport.request(ASK, timeout_s=5))
        await begun.wait()
        await transport.answer("stock", PATTERNS, quick)
        closed = tasks.create_task(closing.close())
        await turns()
        assert not closed.done()
        assert second.result() == b"quick"
        go_on.set()
    assert first.result() == b"slow"


async def test_a_paused_answerer_keeps_requests_waiting(transport: EmbeddedTransport) -> None:
    answerer = await transport.answer("stock", PATTERNS, _nothing)
    await answerer.pause()
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(transport.request(ASK, timeout_s=5))
        await turns()
        assert not asked.done()
        await answerer.resume()
    assert asked.result() == b""


async def test_an_answer_that_raises_does_not_leave_its_asker_waiting(transport: EmbeddedTransport) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    async def broken(_: Frame) -> bytes:
        raise RuntimeError("no")

    await transport.answer("stock", PATTERNS, broken)
    with pytest.raises(Unavailable, match="stock"):
        await transport.request(ASK, timeout_s=5)
    assert len(told) == 1


async def test_an_answer_does_not_inherit_its_askers_context(transport: EmbeddedTransport) -> None:
    cause: ContextVar[str] = ContextVar("cause", default="none")

    async def answer(_: Frame) -> bytes:
        return cause.get().encode()

    await transport.answer("stock", PATTERNS, answer)
    cause.set("the asker's")
    assert await transport.request(ASK, timeout_s=1) == b"none"


async def test_signals_reach_whoever_listens_at_the_moment(transport: EmbeddedTransport) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    beats: list[bytes] = []
    everything: list[bytes] = []

    def broken(_: Frame) -> None:
        raise RuntimeError("no")

    await transport.signal(frame("0", "bus.beat.gateway"))
    await transport.listen(("bus.beat.*",), broken)
    listener = await transport.listen(("bus.beat.*",), lambda heard: beats.append(heard.body))
    await transport.listen(("#",), lambda heard: everything.append(heard.body))
    await transport.signal(frame("1", "bus.beat.gateway"))
    await transport.signal(frame("2", "bus.progress.gateway"))
    await listener.pause()
    await transport.signal(frame("3", "bus.beat.gateway"))
    await listener.resume()
    await transport.signal(frame("4", "bus.beat.gateway"))
    await listener.close()
    await listener.close()
    await transport.signal(frame("5", "bus.beat.gateway"))
    assert beats == [b"1", b"4"]
    assert everything == [b"1", b"2", b"3", b"4", b"5"]
    assert len(told) == 4


async def _nothing(_: Frame) -> bytes:
    return b""
