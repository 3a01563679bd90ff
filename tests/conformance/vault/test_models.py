"""A read model built anew holds what the one before held, while events and questions go on."""

from __future__ import annotations

import asyncio

import pytest

from bus.errors import Refused
from schemas.request_vault import (
    CallAnnotated,
    CallDeleted,
    CallShared,
    CallStarred,
    CallSummary,
    CallUnstarred,
    ModelState,
)
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.store.port import Scope, Selection, Store
from tests.conformance.vault.marking import mark
from tests.conformance.vault.vaults import Open, ids
from tests.services.request_vault.samples import BUCKET, START, captured, decision, order

OTHERS = ("anotherbuckt", "thirdbucket1")


async def fill(store: Store, calls: int = 40) -> None:
    for start in range(0, calls, 10):
        await store.record(
            [
                captured(f"c-{n}", bucket=(BUCKET, *OTHERS)[n % 3], status=200 + n % 5 * 100)
                for n in range(start, min(calls, start + 10))
            ]
            + [order(start, correlation="x")]
        )
        await store.append(f"shop.thing-{start}", 0, [decision(f"d-{start}")])
    await mark(store, CallStarred("c-0", BUCKET), CallAnnotated("c-0", BUCKET, "note", ("t", "u")))
    await mark(store, CallShared("c-3", BUCKET, "s"), CallStarred("c-3", BUCKET))
    await mark(store, CallUnstarred("c-3", BUCKET))
    await mark(store, CallDeleted("c-6", BUCKET))


async def rows(store: Store) -> list[CallSummary]:
    found: list[CallSummary] = []
    for bucket in (BUCKET, *OTHERS):
        found += (await store.search_calls(CallQuery(bucket, limit=500))).calls
    return found


async def answers(store: Store) -> list[object]:
    """Of every index that a model has."""
    found: list[object] = [await rows(store)]
    for query in ("status:5xx", "is:starred", "is:shared", "tag:u", "note:note", "host:api.example.com"):
        found.append((await store.search_calls(narrowed(CallQuery(BUCKET), query, START))).calls)
    for selection in (
        Selection(types=("shop.#",)),
        Selection(correlation="x"),
        Selection(key=BUCKET),
        Selection(subject="o-0"),
    ):
        found.append(ids((await store.read_log(selection, {}, 500)).records))
    return found


async def rebuilt(store: Store, name: str, most: int) -> list[ModelState]:
    """The states of a rebuild, to its end."""
    states = [await store.rebuild(name, most)]
    while states[-1].state == "rebuilding":
        states.append(await store.rebuild(name, most))
    return states


def state(store: Store, name: str) -> ModelState:
    return next(model for model in store.models() if model.name == name)


@pytest.mark.parametrize("name", ["calls", "events"])
@pytest.mark.parametrize("most", [1, 7, 1000])
async def test_a_model_built_anew_answers_as_before(opens: Open, name: str, most: int) -> None:
    async with opens(partitions=2) as store:
        await fill(store)
        before = await answers(store)
        states = await rebuilt(store, name, most)
        assert [each.done for each in states] == sorted(each.done for each in states)
        assert state(store, name) == states[-1]
        assert states[-1].state == "ready"
        assert states[-1].done == states[-1].of
        assert await answers(store) == before
        while await store.drop_old(5):
            pass
        assert await answers(store) == before
    async with opens(partitions=2) as store:
        assert await answers(store) == before
        assert state(store, name).state == "ready"


@pytest.mark.parametrize("name", ["calls", "events"])
async def test_what_comes_meanwhile_is_in_the_old_and_in_the_new(store: Store, name: str) -> None:
    await fill(store, 10)
    step = 0
    while (await store.rebuild(name, 3)).state == "rebuilding":
        step += 1
        await store.record([captured(f"new-{step}"), order(1000 + step, correlation="x")])
        found = await rows(store)
        assert found[0].id == f"new-{step}"
        assert len(found) == 9 + step
        await mark(store, CallStarred(f"new-{step}", BUCKET), CallStarred("c-1", OTHERS[0]))
        await mark(
            store, CallUnstarred("c-1", OTHERS[0]), CallAnnotated("c-1", OTHERS[0], "", (f"t-{step}",))
        )
        if step > 1:
            await mark(store, CallDeleted(f"new-{step - 1}", BUCKET), CallStarred(f"new-{step - 1}", BUCKET))
            break
    before = await answers(store)
    await rebuilt(store, name, 3)
    assert await answers(store) == before
    await rebuilt(store, name, 3)
    assert await answers(store) == before


@pytest.mark.parametrize("steps", [1, 2, 5])
async def test_a_rebuild_goes_on_after_a_restart(opens: Open, steps: int) -> None:
    async with opens() as store:
        await fill(store)
        before = await answers(store)
        for _ in range(steps):
            await store.rebuild("calls", 5)
        begun = state(store, "calls")
        assert begun.state == "rebuilding"
    async with opens() as store:
        assert state(store, "calls") == begun
        assert await answers(store) == before
        await store.record([captured("between")])
        assert len(await rebuilt(store, "calls", 5)) <= 12 - steps
        assert (await rows(store))[0].id == "between"
        assert (await rows(store))[1:] == before[0]


async def test_old_tables_are_dropped_in_small_steps(store: Store) -> None:
    await fill(store)
    before = await answers(store)
    await rebuilt(store, "calls", 100)
    await store.rebuild("events", 3)
    while await store.drop_old(4):
        assert await answers(store) == before
    await rebuilt(store, "events", 3)
    assert await answers(store) == before
    assert not await store.drop_old(4) or not await exhausted(store)


async def exhausted(store: Store) -> bool:
    while await store.drop_old(1000):
        pass
    return await store.drop_old(1000)


async def test_questions_during_a_swap_are_answered(store: Store) -> None:
    await fill(store)
    before = await answers(store)

    async def ask() -> None:
        for _ in range(20):
            assert await answers(store) == before

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask())
        for _ in range(4):
            await rebuilt(store, "calls", 50)
            await rebuilt(store, "events", 50)
            while await store.drop_old(1000):
                pass


async def test_a_model_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(Refused, match="there is no model 'nothing'") as caught:
        await store.rebuild("nothing", 10)
    assert caught.value.reason == "model-unknown"


async def test_an_empty_vault_is_rebuilt_too(store: Store) -> None:
    for name in ("calls", "events"):
        assert (await rebuilt(store, name, 10))[-1].state == "ready"
    await fill(store, 10)
    assert len(await rows(store)) == 9


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
async def test_what_is_removed_meanwhile_does_not_come_back(store: Store, steps: int) -> None:
    """Rows that were put in already, rows that are just being made, and rows that would come later."""
    await fill(store)
    for _ in range(steps):
        await store.rebuild("calls", 10)
        await store.rebuild("events", 10)
    gone = {f"c-{n}" for n in range(0, 40, 3)}
    await store.erase(BUCKET, [*sorted(gone), "nobody"], by="token", why="asked to")
    await store.trim(Scope(OTHERS[0], keep_records=3), 100)
    before = await answers(store)
    assert not gone & {call.id for call in await rows(store)}
    for name in ("calls", "events"):
        await rebuilt(store, name, 10)
        assert await answers(store) == before
    assert await store.get_call("c-3", BUCKET, deleted=True) is None
