"""Idempotency-Key: a repeat is the first answer again; another request under the key, and one that comes too
early, are told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bus import Delivery, Refused, Router
from bus.errors import Unavailable
from bus.testing import ManualClock
from services.api.store import KEPT_S, RUNNING_S, Begun, MemoryRepeats, Repeats, open_repeats
from tests.services.api.standing import OURS, Standing, standing
from tests.services.api.test_operations import WEIGH, Weigh, Weighed, problem

PATH = f"/v1/scales/{OURS}/weighings"
BODY = {"things": ["a"], "at": "2026-01-01T00:00:00Z"}


class Slow:
    """Answers when it may; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Weigh] = []
        self.begun = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()
        self.refuse = False
        self.router = Router("scales")
        self.router.answers(Weigh, self.answer_weigh)

    async def answer_weigh(self, ask: Weigh, delivery: Delivery) -> Weighed:
        self.asked.append(ask)
        self.begun.set()
        await self.may.wait()
        if self.refuse:
            raise Refused("weight-invalid", "the scales say no")
        return Weighed(len(ask.things), ask.at, ask.command_id.encode())


@pytest.fixture
async def scales() -> AsyncIterator[tuple[Standing, Slow]]:
    slow = Slow()
    async with standing(operations={"scales": (WEIGH,)}, routers=(slow.router,)) as api:
        yield api, slow


async def posted(api: Standing, key: str | None, body: Any = BODY) -> tuple[int, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with api.client.post(PATH, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_the_same_request_has_the_same_answer(scales: tuple[Standing, Slow]) -> None:
    api, slow = scales
    first = await posted(api, "k-1")
    assert await posted(api, "k-1") == first
    assert await posted(api, '"k-1"') == first  # as the draft writes it: a structured string
    assert await posted(api, "k-1", {"at": BODY["at"], "things": ["a"]}) == first
    assert len({ask.command_id for ask in slow.asked}) == 1
    others = [await posted(api, key) for key in ("k-2", None, None)]
    assert len({str(answer) for answer in (first, *others)}) == 4


async def test_another_request_under_the_key_is_refused(scales: tuple[Standing, Slow]) -> None:
    api, slow = scales
    await posted(api, "k")
    asked = len(slow.asked)
    headers = {"Idempotency-Key": "k"}
    async with api.client.post(PATH, json={**BODY, "things": ["b"]}, headers=headers) as answer:
        assert (await problem(answer, 422, "idempotency-key-reused"))["field"] == "Idempotency-Key"
    assert len(slow.asked) == asked


async def test_a_repeat_while_the_first_runs_is_told_to_wait(scales: tuple[Standing, Slow]) -> None:
    api, slow = scales
    slow.may.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(posted(api, "k"))
        await slow.begun.wait()
        async with api.client.post(PATH, json=BODY, headers={"Idempotency-Key": "k"}) as answer:
            await problem(answer, 409, "idempotency-key-running")
            assert answer.headers["Retry-After"] == "1"
        slow.may.set()
    assert first.result()[0] == 200
    assert await posted(api, "k") == first.result()


async def test_what_was_refused_may_be_corrected_under_its_key(scales: tuple[Standing, Slow]) -> None:
    api, slow = scales
    slow.refuse = True
    assert (await posted(api, "k"))[0] == 400
    slow.refuse = False
    assert (await posted(api, "k", {**BODY, "things": ["b"]}))[0] == 200


@pytest.mark.parametrize("key", ["", " ", '"', '"a"b', '"a\\n"', "k" * 256, "schlüssel"])
async def test_a_bad_key_is_named(scales: tuple[Standing, Slow], key: str) -> None:
    api, slow = scales
    async with api.client.post(PATH, json=BODY, headers={"Idempotency-Key": key}) as answer:
        assert (await problem(answer, 400, "parameter-invalid"))["field"] == "Idempotency-Key"
    async with api.client.post(
        PATH, json=BODY, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    ) as answer:
        await problem(answer, 400, "parameter-invalid")
    assert slow.asked == []


class Away:
    """Repeats whose server is down."""

    async def begin(self, id: str, fingerprint: str) -> Begun:
        raise Unavailable("redis: no answer")

    async def end(self, id: str, fingerprint: str) -> None:
        raise Unavailable("redis: no answer")

    async def forget(self, id: str) -> None:
        raise Unavailable("redis: no answer")


async def test_without_what_keeps_them_repeats_are_still_the_same_command() -> None:
    slow = Slow()
    async with standing(operations={"scales": (WEIGH,)}, routers=(slow.router,), repeats=Away()) as api:
        assert await posted(api, "k") == await posted(api, "k")
    assert len({ask.command_id for ask in slow.asked}) == 1


async def check_repeats(repeats: Repeats) -> None:
    """What every engine promises."""
    assert await repeats.begin("id", "f") == "first"
    assert await repeats.begin("id", "f") == "running"
    assert await repeats.begin("id", "g") == "other"
    assert await repeats.begin("id-2", "f") == "first"
    await repeats.end("id", "f")
    assert await repeats.begin("id", "f") == "again"
    assert await repeats.begin("id", "g") == "other"
    await repeats.forget("id-2")
    assert await repeats.begin("id-2", "g") == "first"


async def test_memory_keeps_what_it_promises() -> None:
    clock = ManualClock()
    repeats = MemoryRepeats(clock)
    await check_repeats(repeats)
    await clock.advance(RUNNING_S + 1)
    assert await repeats.begin("id-2", "h") == "first"  # whoever ran it has died
    await clock.advance(KEPT_S - RUNNING_S - 2)
    assert await repeats.begin("id", "g") == "other"
    await clock.advance(2)
    assert await repeats.begin("id", "g") == "first"


async def test_redis_keeps_what_it_promises(redis_url: str) -> None:
    async with open_repeats(redis_url, ManualClock()) as repeats:
        await check_repeats(repeats)


async def test_a_redis_that_is_down_is_unavailable() -> None:
    async with open_repeats("redis://127.0.0.1:1/0", ManualClock()) as repeats:
        with pytest.raises(Unavailable):
            await repeats.begin("id", "f")
