"""What the PostgreSQL engine has of its own: opening, places of records, disk that comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from bus.clock import Clock as BusClock
from bus.errors import CannotOpen, Unavailable
from schemas.request_vault import CallStarred
from schemas.traffic_gateway import Body
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us
from services.request_vault.store import open_archive, open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.errors import (
    VaultForeign,
    VaultNoAccess,
    VaultUrlInvalid,
    VaultVersion,
)
from services.request_vault.store.port import Scope, Selection, Store
from services.request_vault.store.postgres.connections import Address
from services.request_vault.store.postgres.places import AGES, FOREVER, class_of, day_of, days_of, leaf_of
from services.request_vault.store.postgres.rows import restored, stored
from tests.conformance.vault.library import Library
from tests.conformance.vault.marking import mark
from tests.conformance.vault.proofs import problems
from tests.conformance.vault.vaults import Clock, decoded, whole_log
from tests.services.request_vault.samples import (
    BUCKET,
    OrderPlaced,
    captured,
    event_of,
    order,
)
from tests.services.request_vault.vault_schemas import vault_urls

DAY_S = 86_400
SECRET = "s3cr3t-w0rd"


@pytest.fixture
def urls(postgres_url: str) -> Iterator[Iterator[str]]:
    with vault_urls(postgres_url) as fresh:
        yield fresh


@pytest.fixture
def url(urls: Iterator[str]) -> str:
    return next(urls)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def opened(url: str, clock: BusClock, *, partitions: int = 1) -> AsyncIterator[Store]:
    async with open_store(url, Path(), clock, partitions=partitions, readers=2) as store:
        yield store


async def run(url: str, *statements: str) -> None:
    address = Address.parse(url)
    connection = await asyncpg.connect(address.url)
    try:
        for statement in statements:
            await connection.execute(statement.format(schema=address.schema))
    finally:
        await connection.close()


async def leaves_of(url: str) -> set[str]:
    address = Address.parse(url)
    connection = await asyncpg.connect(address.url)
    try:
        rows = await connection.fetch(
            """SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'
            AND relname ~ '^record_[a-z0-9]+_[0-9]+$'""",
            address.schema,
        )
        return {row[0] for row in rows}
    finally:
        await connection.close()


# --- opening


@pytest.mark.parametrize(
    "bad",
    [
        f"postgresql://user:{SECRET}@host:port/db",
        f"postgresql://user:{SECRET}#@host/db",
        f"postgresql://user:{SECRET}@x@host/db",
        f"postgresql://user:{SECRET}@[host/db",
        f"postgresql://user:{SECRET}@host/db?search_path=a,b",
        f"postgresql://user:{SECRET}@host/db?nonsense",
    ],
)
async def test_a_url_that_cannot_be_read_is_refused_and_shows_no_password(bad: str, clock: Clock) -> None:
    with pytest.raises(VaultUrlInvalid) as caught:
        async with opened(bad, clock):
            pass
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda url: url.replace("@", "x@", 1), VaultNoAccess),
        (lambda url: url.replace("?", "_nowhere?", 1), VaultNoAccess),
        (lambda url: url + "&no_such_setting=1", VaultUrlInvalid),
    ],
    ids=["password", "database", "setting"],
)
async def test_what_the_server_refuses_is_said_once_and_without_the_password(
    url: str, clock: Clock, change: object, error: type[CannotOpen]
) -> None:
    assert callable(change)
    with pytest.raises(error) as caught:
        async with opened(change(url), clock):
            pass
    password = Address.parse(url).url.split(":")[2].split("@")[0]
    assert password not in str(caught.value)


async def test_a_server_that_is_away_is_to_be_tried_again(clock: Clock) -> None:
    with pytest.raises(Unavailable, match=r"postgresql://u@127\.0\.0\.1:1/db does not answer") as caught:
        async with opened(f"postgresql://u:{SECRET}@127.0.0.1:1/db", clock):
            pass
    assert SECRET not in str(caught.value)


async def test_a_schema_that_holds_something_else_is_left_alone(url: str, clock: Clock) -> None:
    await run(url, "CREATE SCHEMA {schema}", "CREATE TABLE {schema}.theirs (a integer)")
    with pytest.raises(VaultForeign, match="holds a table 'theirs', and no vault"):
        async with opened(url, clock):
            pass


async def test_a_vault_of_another_format_is_left_alone(url: str, clock: Clock) -> None:
    async with opened(url, clock):
        pass
    await run(url, "UPDATE {schema}.vault SET format = 99")
    with pytest.raises(VaultVersion, match="has format 99"):
        async with opened(url, clock):
            pass
    with pytest.raises(VaultVersion, match="has format 99"):
        async with open_archive(url, Path()):
            pass


async def test_instances_that_begin_at_once_make_one_vault(url: str, clock: Clock) -> None:
    async def begin(number: int) -> None:
        async with opened(url, clock) as store:
            assert (await store.record([order(number)])).recorded == 1

    await asyncio.gather(*(begin(number) for number in range(5)))
    async with opened(url, clock) as store:
        assert (await store.stats()).partitions == (0, 5)


async def test_an_archive_reads_beside_a_running_vault_as_of_one_moment(url: str, clock: Clock) -> None:
    with pytest.raises(FileNotFoundError):
        async with open_archive(url, Path()):
            pass
    async with opened(url, clock) as store:
        await store.record([captured("a"), order(1)])
        async with open_archive(url, Path()) as archive:
            await store.record([order(2)])
            assert await problems(archive) == []
            assert (await archive.stats()).partitions == (0, 2)


async def test_a_backup_is_a_vault_in_one_file(url: str, clock: Clock, tmp_path: Path) -> None:
    async with opened(url, clock) as store:
        await store.record([order(number) for number in range(1200)] + [captured("a")])
        await mark(store, CallStarred("a", BUCKET))
        await store.mark_published(1)
        await store.trim(Scope("eu", keep_records=1000), 100)
        await store.backup(tmp_path / "copy.db")
        with pytest.raises(FileExistsError):
            await store.backup(tmp_path / "copy.db")
        assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]
        async with open_archive(f"sqlite:{tmp_path / 'copy.db'}", tmp_path) as copy:
            assert await problems(copy) == []
            assert await copy.ends() == await store.ends()
            assert copy.published_to() == 1


# --- texts and names


@pytest.mark.parametrize(
    "text", ["", "a", "\x00", "a\x00b", "\U0010fffe", "\U0010ffff\x00\U0010fffe\U0010fffe"]
)
def test_every_text_comes_back_as_it_was_and_is_storable(text: str) -> None:
    assert restored(stored(text)) == text
    assert "\x00" not in stored(text)
    for other in ("", "\x00", "\U0010fffe", "x"):
        assert stored(text + other) == stored(text) + stored(other)


async def test_names_longer_than_an_index_entry_are_kept_apart(url: str, clock: Clock) -> None:
    long = "\N{GREEK SMALL LETTER ALPHA WITH TONOS}" * 1023
    async with opened(url, clock) as store:
        events = [event_of(OrderPlaced(n), f"e-{n}", subject=long + "ab"[n % 2]) for n in range(4)]
        assert (await store.record(events)).recorded == 4
        for end in "ab":
            page = await store.read_stream(f"shop.order-{long}{end}", 0, 10)
            assert [record.version for record in page.records] == [1, 2]
            found = await store.read_log(Selection(subject=long + end), {}, 10)
            assert {decoded(record).subject for record in found.records} == {long + end}
        host = "h" * 3000
        await store.record([captured("a", url=f"https://{host}a/"), captured("b", url=f"https://{host}b/")])
        calls = await store.search_calls(CallQuery(BUCKET, host=f"{host}b"))
        assert [call.id for call in calls.calls] == ["b"]
        assert await problems(store) == []


# --- leaves


def test_every_day_of_a_class_is_in_one_leaf() -> None:
    for class_ in (FOREVER, *AGES):
        for day in range(20_000, 20_800):
            assert day_of(class_, day * DAY_S * 1_000_000 + 5) == day
            assert day in days_of(leaf_of(class_, day))
    assert [class_of(age) for age in (None, 0, 1, 2, 30, 31, 365, 366)] == [0, 1, 1, 7, 30, 90, 365, 0]


async def test_the_disk_of_days_that_are_over_comes_back_and_what_is_starred_survives(
    url: str, clock: Clock
) -> None:
    async with opened(url, clock) as store:
        store.retain({BUCKET: 7})
        for day in range(10):
            clock.at_s = day * DAY_S
            body = Body(4000, 4000, None, random.Random(day).randbytes(4000))
            calls = [captured(f"c-{day}-{n}", response_body=body) for n in range(200)]
            await store.record([*calls, order(day)])
        for name in ("c-0-7", "c-1-9"):
            await mark(store, CallStarred(name, BUCKET))
        before = (await store.stats()).size_bytes
        had = await leaves_of(url)
        assert sum(name.startswith("record_7_") for name in had) == 10
        while (
            await store.trim(Scope(BUCKET, before_us=to_us(clock.now()) - 2 * DAY_S * 1_000_000), 500)
        ).more:
            pass
        while await store.reclaim(100):
            pass
        await store.checkpoint()
        left = await leaves_of(url)
        assert sum(name.startswith("record_7_") for name in left) == 3
        assert {name for name in left if "forever" in name} == {name for name in had if "forever" in name}
        assert (await store.stats()).size_bytes < before * 0.6
        assert (await store.stats()).calls == 3 * 200 + 2
        oldest = await store.search_calls(CallQuery(BUCKET, limit=2), after=0)
        assert [call.id for call in oldest.calls] == ["c-0-7", "c-1-9"]
        assert await store.get_call("c-0-7", BUCKET) is not None
        assert await problems(store) == []
        # The days that are gone are not missed.
        await store.record([captured("later")])
        assert len(await whole_log(store)) > 0


async def test_a_leaf_that_is_dropped_behind_an_instance_is_no_loss(url: str, clock: Clock) -> None:
    async with opened(url, clock) as one, opened(url, clock) as two:
        for store in (one, two):
            store.retain({BUCKET: 1})
        await one.record([captured("a")])
        await two.record([captured("b")])
        await one.trim(Scope(BUCKET, keep_records=0), 10)
        clock.at_s = 3 * DAY_S
        assert await one.reclaim(10) > 0
        clock.at_s = 0  # a clock that is far behind
        assert (await two.record([captured("c")])).recorded == 1
        assert await problems(two) == []


async def test_a_text_index_of_another_version_is_built_anew(url: str, clock: Clock, tmp_path: Path) -> None:
    async with opened(url, clock) as store:
        library = Library(store, DirectoryBodies(tmp_path, clock), clock)
        await library.record(captured("a", url="https://api.example.com/teapot"))
        await library.index()
    await run(url, "UPDATE {schema}.text_progress SET version = 0", "DELETE FROM {schema}.text_1")
    async with opened(url, clock) as store:
        library = Library(store, DirectoryBodies(tmp_path, clock), clock)
        assert await library.found("teapot") == ""
        await library.index()
        assert await library.found("teapot") == "a"
        assert store.models()[-1].state == "ready"
        assert await store.unindexed(10) is None
