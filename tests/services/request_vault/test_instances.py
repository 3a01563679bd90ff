"""Several instances of the vault on one PostgreSQL: they record together, one of them publishes, and whatever
happens to one, nothing is lost, nothing is there twice, and no reader misses a position."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

import bus
from bus.errors import Unavailable
from deploy.stack import Server, Stack
from schemas.request_vault import ANY_VERSION, Recorded
from services.request_vault.domain.calls import CallQuery
from services.request_vault.store import open_store
from services.request_vault.store.port import Selection, Store, StoreStats
from services.request_vault.store.postgres.connections import Address
from tests.conformance.vault.vaults import decoded
from tests.services.request_vault.instances import following, instance
from tests.services.request_vault.samples import BUCKET, captured, decision, order
from tests.services.request_vault.vault_schemas import vault_urls

TAKEN_OVER_S = 5.0
FROZEN_S = float(os.environ.get("TRUNKLINE_TEST_FROZEN_S", "0"))
"""How long an instance is frozen beyond the time in which another takes over; `make test-reliability`: 60."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def vault_url(postgres_url: str) -> Iterator[str]:
    with vault_urls(postgres_url) as fresh:
        yield next(fresh)


@pytest.fixture
def postgres(stack: Stack) -> Iterator[Server]:
    server = stack["postgres"]
    yield server
    server.start()


@asynccontextmanager
async def opened(url: str, partitions: int = 1) -> AsyncIterator[Store]:
    async with open_store(url, Path(), bus.SystemClock(), partitions=partitions, readers=2) as store:
        yield store


async def decide(store: Store, names: Sequence[str]) -> None:
    await store.append("shop.thing-a", ANY_VERSION, [decision(name) for name in names])


async def decisions_of(store: Store) -> list[Recorded]:
    found: list[Recorded] = []
    while page := (await store.read_decisions(len(found), 500)).records:
        found += page
    return found


async def until(store: Store, reached: Callable[[StoreStats], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not reached(await store.stats()):
            await bus.SystemClock().sleep(0.05)


def names(first: int, last: int) -> list[str]:
    return [f"d-{number}" for number in range(first, last)]


async def test_when_the_instance_that_publishes_is_killed_another_does(
    amqp_url: str, vault_url: str, tmp_path: Path
) -> None:
    async with (
        following(amqp_url) as (_, follower),
        instance(amqp_url, vault_url, tmp_path / "a") as first,
        opened(vault_url) as store,
    ):
        await decide(store, names(0, 3))
        await follower.hears(names(0, 3), TAKEN_OVER_S)
        async with instance(amqp_url, vault_url, tmp_path / "b"):
            await decide(store, names(3, 6))
            await follower.hears(names(3, 6), TAKEN_OVER_S)
            first.process.kill()
            await decide(store, names(6, 9))
            await follower.hears(names(6, 9), TAKEN_OVER_S)
            # What the first had published when it was killed, and not noted, is published again.
            assert list(dict.fromkeys(follower.ids)) == names(0, 9)


async def decide_on(store: Store, first: int, together: int, pause_s: float, stop: asyncio.Event) -> int:
    """Names from `first` on, until told to stop; the next one."""
    while not stop.is_set():
        await decide(store, names(first, first + together))
        first += together
        await bus.SystemClock().sleep(pause_s)
    return first


@pytest.mark.timeout(120 + 2 * FROZEN_S)
async def test_an_instance_that_was_frozen_in_the_middle_of_publishing_does_no_harm(
    amqp_url: str, vault_url: str, tmp_path: Path
) -> None:
    async with (
        following(amqp_url) as (_, follower),
        instance(amqp_url, vault_url, tmp_path / "a") as first,
        opened(vault_url) as store,
    ):
        await decide(store, names(0, 1))
        await follower.hears(names(0, 1), TAKEN_OVER_S)
        async with instance(amqp_url, vault_url, tmp_path / "b"):
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                deciding = tasks.create_task(decide_on(store, 1, 500, 0, stop))
                await follower.hears(names(1, 301), TAKEN_OVER_S + 10)
                first.process.send_signal(signal.SIGSTOP)
                stop.set()
            total = deciding.result()
            assert (await store.stats()).published_to < total, "it was not in the middle"
            await follower.hears(names(0, total), TAKEN_OVER_S + 10)
            stop.clear()
            async with asyncio.TaskGroup() as tasks:
                deciding = tasks.create_task(decide_on(store, total, 20, 0.1, stop))
                await bus.SystemClock().sleep(FROZEN_S)
                await until(store, lambda stats: stats.published_to > total, within_s=5)
                first.process.send_signal(signal.SIGCONT)
                continued_at = (await store.stats()).partitions[0]
                await until(store, lambda stats: stats.published_to > continued_at + 100, within_s=10)
                stop.set()
            total = deciding.result()
            await follower.hears(names(0, total), TAKEN_OVER_S)
            await first.end()
            await decide(store, names(total, total + 10))
            await follower.hears(names(total, total + 10), TAKEN_OVER_S)
        total += 10
        heard_first = list(dict.fromkeys(follower.ids))
        assert heard_first == names(0, total)
        recorded = await decisions_of(store)
        assert [decoded(record).id for record in recorded] == heard_first
        assert [record.position[1] for record in recorded] == list(range(1, total + 1))
        await until(store, lambda stats: stats.published_to == total, within_s=5)


async def test_instances_record_together_and_what_one_held_when_it_died_is_recorded_by_the_other(
    amqp_url: str, vault_url: str, tmp_path: Path
) -> None:
    total = 4000
    async with (
        following(amqp_url) as (b, _),
        instance(amqp_url, vault_url, tmp_path / "a") as first,
        instance(amqp_url, vault_url, tmp_path / "b"),
        opened(vault_url) as store,
    ):
        for start in range(0, total, 500):
            await b.emit(*[captured(f"c-{number}") for number in range(start, start + 500)])
            if start == total // 2:
                first.process.kill()
        await until(store, lambda stats: stats.calls == total, within_s=40)
        found: list[str] = []
        before, more = None, True
        while more:
            page = await store.search_calls(CallQuery(BUCKET, limit=500), before=before)
            found += [call.id for call in page.calls]
            before, more = page.reached, page.more
        assert sorted(found) == sorted(f"c-{number}" for number in range(total))
        assert (await store.stats()).partitions == (0, total)


async def test_a_reader_misses_no_position_whatever_order_instances_commit_in(vault_url: str) -> None:
    seen: list[tuple[int, int]] = []
    written = 0

    async def write(store: Store, who: int) -> None:
        nonlocal written
        for batch in range(25):
            events = [order(who * 10_000 + batch * 10 + n, key=f"k-{n % 5}") for n in range(10)]
            # Others record some of the same, in another order.
            events += [order(90_000 + batch * 3 + n, key=f"k-{n % 5}") for n in range(3)]
            random.Random(f"{who}-{batch}").shuffle(events)
            assert not (await store.record(events)).refused
            await decide(store, [f"d-{who}-{batch}"])

    async def hold_heads(stop: asyncio.Event) -> None:
        """Keep one partition or another locked for a while, so that transactions end in another order than
        they began in."""
        connection = await asyncpg.connect(Address.parse(vault_url).url)
        schema = Address.parse(vault_url).schema
        turns = random.Random(7)
        try:
            while not stop.is_set():
                async with connection.transaction():
                    await connection.execute(
                        f"SELECT FROM {schema}.head WHERE partition = $1 FOR UPDATE", turns.randrange(4)
                    )
                    await connection.execute("SELECT pg_sleep($1)", turns.random() * 0.03)
        finally:
            await connection.close()

    async def poll(store: Store, stop: asyncio.Event) -> None:
        reached: dict[int, int] = {}
        while True:
            last = stop.is_set()
            page = await store.read_log(Selection(), reached, 50)
            reached = page.reached
            seen.extend(record.position for record in page.records)
            if last and not page.more:
                return

    stop = asyncio.Event()
    async with (
        opened(vault_url, 3) as one,
        opened(vault_url, 3) as two,
        opened(vault_url, 3) as three,
        opened(vault_url, 3) as four,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(hold_heads(stop))
        tasks.create_task(poll(four, stop))
        async with asyncio.TaskGroup() as writers:
            for who, store in enumerate((one, two, three, four)):
                writers.create_task(write(store, who))
        stop.set()
    assert len(set(seen)) == len(seen) == 4 * 25 * 11 + 75
    for partition in range(4):
        numbers = [number for where, number in seen if where == partition]
        assert numbers == list(range(1, len(numbers) + 1))


async def _record_everything(store: Store, stop: asyncio.Event) -> tuple[int, int]:
    """Record until told to stop, and again whatever may not have been taken; how many events, and how many
    times it was told to wait."""
    number = waits = 0
    while not stop.is_set():
        events = [order(number + n) for n in range(20)]
        while True:
            try:
                assert not (await store.record(events)).refused
                await decide(store, [f"d-{number}"])
                break
            except Unavailable:
                waits += 1
                await asyncio.sleep(0.05)
        number += 20
    return number, waits


async def _check_recorded(store: Store, events: int) -> None:
    stats = await store.stats()
    assert stats.partitions == (events // 20, events)
    assert store.heads() == {"shop": events // 20}
    assert len(await decisions_of(store)) == events // 20


async def test_connections_that_are_cut_under_load_cost_nothing(vault_url: str) -> None:
    stop = asyncio.Event()
    async with opened(vault_url) as store:
        cutter = await asyncpg.connect(Address.parse(vault_url).url)
        try:
            async with asyncio.TaskGroup() as tasks:
                recording = tasks.create_task(_record_everything(store, stop))
                for _ in range(25):
                    await asyncio.sleep(0.1)
                    await cutter.execute(
                        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name LIKE 'trunkline vault%' AND random() < 0.7"""
                    )
                stop.set()
        finally:
            await cutter.close()
        events, waits = recording.result()
        assert waits > 0
        assert events > 0
        await _check_recorded(store, events)


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_server_that_is_restarted_under_load_is_waited_for(
    vault_url: str, postgres: Server, how: str
) -> None:
    stop = asyncio.Event()
    async with opened(vault_url) as store:
        async with asyncio.TaskGroup() as tasks:
            recording = tasks.create_task(_record_everything(store, stop))
            await asyncio.sleep(0.5)
            if how == "kill":
                await asyncio.to_thread(postgres.kill)
                await asyncio.to_thread(postgres.start)
            else:
                await asyncio.to_thread(postgres.restart)
            await asyncio.sleep(0.5)
            stop.set()
        events, waits = recording.result()
        assert waits > 0
        await _check_recorded(store, events)


async def test_an_instance_that_is_frozen_while_it_holds_a_partition_holds_up_nobody_for_long(
    vault_url: str,
) -> None:
    async with opened(vault_url) as store:
        address = Address.parse(vault_url)
        frozen = await asyncpg.connect(
            address.url, server_settings={"application_name": address.session_name("writer")}
        )
        try:
            await frozen.execute(f"BEGIN; SELECT FROM {address.schema}.head FOR UPDATE")
            async with asyncio.timeout(12):
                assert (await store.record([order(1)])).recorded == 1
        finally:
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresError):
                await frozen.close()


async def test_an_instance_that_lost_the_lead_moves_no_checkpoint(vault_url: str) -> None:
    async with opened(vault_url) as one, opened(vault_url) as two:
        await decide(one, names(0, 10))
        await one.lead()
        await one.mark_published(3)
        cutter = await asyncpg.connect(Address.parse(vault_url).url)
        try:
            async with asyncio.TaskGroup() as tasks:
                leading = tasks.create_task(two.lead())
                while not leading.done():
                    await cutter.execute(
                        """SELECT pg_terminate_backend(l.pid) FROM pg_locks l
                        JOIN pg_stat_activity a ON a.pid = l.pid
                        WHERE l.locktype = 'advisory' AND a.application_name = $1""",
                        Address.parse(vault_url).session_name("watch"),
                    )
                    await asyncio.sleep(0.05)
        finally:
            await cutter.close()
        if not one.leads():
            with pytest.raises(Unavailable, match="another instance publishes"):
                await one.mark_published(9)
        await two.mark_published(5)
        assert (await one.stats()).published_to == 5
