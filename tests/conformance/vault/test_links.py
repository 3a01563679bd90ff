"""The log as links: given out in order, proved, and put into another vault at the same positions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from bus import codec
from schemas.request_vault import ANY_VERSION, NO_STREAM, CallAnnotated, CallStarred
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.links import Anchor, Damaged, Gone, Kept, Link, Seal, last_number
from services.request_vault.store.errors import LinksDiffer
from services.request_vault.store.port import Scope, Store
from tests.conformance.vault.proofs import every_link, problems
from tests.conformance.vault.vaults import Clock, Open, whole_log
from tests.services.request_vault.samples import BUCKET, captured, decision, event_of, order

STEPS = (1, 7, 500)


async def fill(store: Store, clock: Clock, *, records: int = 2300) -> None:
    """Decisions, observations over several segments, some of everything gone."""
    for n in range(0, records, 100):
        clock.at_s += 1
        await store.record([order(i, key=f"k-{i % 3}") for i in range(n, n + 99)] + [captured(f"c-{n}")])
        await store.append("shop.thing-a", ANY_VERSION, [decision(f"d-{n}"), decision(f"e-{n}")])
    for n, bucket in ((0, BUCKET), (1000, BUCKET)):
        star = event_of(CallStarred(f"c-{n}", bucket), f"star-{n}", key=bucket, subject=f"c-{n}")
        note = event_of(CallAnnotated(f"c-{n}", bucket, "a note", ("a", "b")), f"note-{n}", key=bucket)
        await store.append(
            f"vault.call-c-{n}", NO_STREAM, [codec.encode_event(star), codec.encode_event(note)]
        )
    await store.erase(BUCKET, ["c-1000", "c-1900"], by="token", why="asked to")
    while (await store.trim(Scope("k-1", keep_records=100), 250)).more:
        pass
    while (await store.trim(Scope(before_us=clock_us(clock) - 11_000_000), 250)).more:
        pass


def clock_us(clock: Clock) -> int:
    return round(clock.now().timestamp() * 1_000_000)


async def copy(source: Store, target: Store, step: int = 100, most: int | None = None) -> None:
    """Observations first, as `load` asks for; `most`: only so many pages."""
    ends = await source.ends()
    for end in (*ends[1:], ends[0]):
        after = 0
        while page := await source.links(end.partition, after, step):
            await target.load(page)
            after = last_number(page[-1])
            if most is not None and (most := most - 1) == 0:
                return


async def content(store: Store) -> object:
    """What two vaults of one log share."""
    links = [[link async for link in every_link(store, end.partition)] for end in await store.ends()]
    stats = await store.stats()
    calls = await store.search_calls(CallQuery(BUCKET, limit=500))
    return (
        links,
        await whole_log(store),
        stats.partitions,
        stats.usage,
        stats.calls,
        calls.calls,
        store.heads(),
    )


async def pages(store: Store, partition: int, limit: int) -> AsyncIterator[list[Link]]:
    after = 0
    while page := await store.links(partition, after, limit):
        yield page
        after = last_number(page[-1])


@pytest.mark.parametrize("limit", STEPS)
async def test_links_come_in_order_whatever_the_page(opens: Open, clock: Clock, limit: int) -> None:
    async with opens(partitions=2) as store:
        await fill(store, clock)
        for end in await store.ends():
            whole = [link async for link in every_link(store, end.partition)]
            paged = [link async for page in pages(store, end.partition, limit) for link in page]
            assert paged == whole
            number = 0
            for link in whole:
                if isinstance(link, Seal):
                    assert link.number == number
                else:
                    assert not isinstance(link, Damaged)
                    assert (link.first if isinstance(link, Anchor) else link.number) == number + 1
                number = last_number(link)
            assert number == end.number


async def test_every_kind_of_link_is_there_and_is_proved(opens: Open, clock: Clock) -> None:
    async with opens(partitions=2) as store:
        await fill(store, clock)
        kinds = {type(link) for end in await store.ends() async for link in every_link(store, end.partition)}
        assert kinds == {Kept, Gone, Anchor, Seal}
        assert await problems(store, limit=123) == []


@pytest.mark.parametrize("step", [13, 500])
async def test_a_loaded_vault_is_the_same_vault(
    new_vault: Callable[[], Open], clock: Clock, step: int
) -> None:
    theirs, ours = new_vault(), new_vault()
    async with theirs(partitions=2) as source, ours(partitions=2) as target:
        await fill(source, clock)
        await copy(source, target, step)
        assert await content(target) == await content(source)
        assert await target.ends() == await source.ends()
        assert await problems(target) == []
        # Both go on alike.
        for store in (source, target):
            assert (await store.record([order(n, key=f"k-{n % 3}") for n in (0, 5, 2200)])).repeated == 3
            assert (await store.append("shop.thing-a", ANY_VERSION, [decision("d-0")])).repeated
            await store.record([order(99_999)])
        assert (await whole_log(target))[-1].position == (await whole_log(source))[-1].position
    async with ours(partitions=2) as target:
        assert await problems(target) == []


async def test_loading_goes_on_where_it_was_cut_off(new_vault: Callable[[], Open], clock: Clock) -> None:
    theirs, ours = new_vault(), new_vault()
    async with theirs(partitions=2) as source:
        await fill(source, clock)
        for pages_done in (1, 4, 9):
            async with ours(partitions=2) as target:
                await copy(source, target, 77, pages_done)
        async with ours(partitions=2) as target:
            await copy(source, target, 77)
            await copy(source, target, 500)
            assert await content(target) == await content(source)
            assert await problems(target) == []


async def test_what_went_at_the_origin_since_goes_here_too(
    new_vault: Callable[[], Open], clock: Clock
) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([captured(f"c-{n}") for n in range(1800)])
        await source.append("shop.thing-a", NO_STREAM, [decision("d-1")])
        await copy(source, target, 100, most=9)  # up to 900
        await source.erase(BUCKET, ["c-700"], by="token", why="asked to")
        await source.trim(Scope(BUCKET, keep_records=0), 300)
        await copy(source, target)
        assert [link async for link in every_link(target, 1)] != []
        assert (await content(target))[1:] == (await content(source))[1:]  # type: ignore[index]
        assert await problems(target) == []
        while (await source.trim(Scope(BUCKET, keep_records=400), 300)).more:
            pass
        await copy(source, target)
        assert (await content(target))[1:] == (await content(source))[1:]  # type: ignore[index]
        assert await problems(target) == []


async def test_a_whole_segment_that_went_at_the_origin_takes_a_begun_one_along(
    new_vault: Callable[[], Open],
) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(n) for n in range(1200)])
        await copy(source, target, 100, most=6)
        while (await source.trim(Scope(keep_records=100), 250)).more:
            pass
        await copy(source, target)
        assert (await content(target))[1:] == (await content(source))[1:]  # type: ignore[index]
        assert await problems(target) == []
        assert (await target.record([order(3), order(650)])).repeated == 2


async def test_what_went_here_since_stays_gone(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([captured(f"c-{n}") for n in range(50)])
        await copy(source, target)
        await target.erase(BUCKET, ["c-7"], by="", why="")
        await target.trim(Scope(BUCKET, keep_records=40), 100)
        await source.record([captured("c-50")])
        await copy(source, target)
        assert (await target.stats()).calls == 41
        assert await problems(target) == []


# --- what is not loaded


async def test_another_log_is_refused_and_nothing_of_it_is_taken(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(1), order(2), order(3)])
        await target.record([order(1)])  # the same event, in another log: other salt
        links = await source.links(1, 0, 10)
        with pytest.raises(LinksDiffer, match=r"\(1, 1\) is here already"):
            await target.load(links)
        with pytest.raises(LinksDiffer, match="another position"):
            await target.load(_moved(links[:1]))
        with pytest.raises(LinksDiffer, match="cannot follow"):
            await target.load(links[2:])
        assert (await target.stats()).partitions == (0, 1)
        assert await problems(target) == []


def _moved(links: list[Link]) -> list[Link]:
    """The same events, as if they had been recorded one number later."""
    from services.request_vault.domain.links import checksum_of, digest_of

    moved: list[Link] = []
    for link in links:
        assert isinstance(link, Kept)
        later = msgspec.structs.replace(link, number=link.number + 1, version=link.version + 1)
        later = msgspec.structs.replace(later, checksum=checksum_of(later))
        moved.append(msgspec.structs.replace(later, digest=digest_of(later)))
    return moved


@pytest.mark.parametrize("field", ["event", "digest", "salt", "stream", "recorded_us"])
async def test_a_record_that_does_not_prove_itself_is_refused(
    new_vault: Callable[[], Open], field: str
) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(n) for n in range(3)])
        links = await source.links(1, 0, 10)
        assert isinstance(links[1], Kept)
        value = getattr(links[1], field)
        other = os.urandom(16) if isinstance(value, bytes) else value + type(value)(1)
        links[1] = msgspec.structs.replace(links[1], **{field: other})
        with pytest.raises(LinksDiffer, match=r"\(1, 2\)"):
            await target.load(links)
        assert (await target.stats()).events == 0


async def test_a_chain_that_differs_is_refused(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(n) for n in range(1000)])
        links = [link async for link in every_link(source, 1)]
        assert isinstance(links[-1], Seal)
        links[-1] = msgspec.structs.replace(links[-1], chain=bytes(32))
        with pytest.raises(LinksDiffer, match=r"chain .* \(1, 1000\)"):
            await target.load(links)
        assert (await target.stats()).events == 0


async def test_a_vault_of_fewer_partitions_cannot_take_it(new_vault: Callable[[], Open]) -> None:
    async with new_vault()(partitions=4) as source, new_vault()(partitions=1) as target:
        await source.record([order(n, key=f"k-{n}") for n in range(9)])
        for end in await source.ends():
            if end.partition > 1 and end.number:
                with pytest.raises(LinksDiffer, match="has 1 for observations"):
                    await target.load(await source.links(end.partition, 0, 10))
