"""The log as links: given out in order, proved, and put into another vault at the same positions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bus import codec
from schemas.request_vault import ANY_VERSION, NO_STREAM, CallAnnotated, CallStarred
from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    Gone,
    Kept,
    Seal,
    last_number,
)
from services.request_vault.store.port import Scope, Store
from tests.conformance.vault.copies import content, copy, pages, trim_all_but
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


async def test_a_whole_segment_that_went_at_the_origin_goes_here_too(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(n) for n in range(1200)])
        await copy(source, target)
        await trim_all_but(source, 100)
        await copy(source, target)
        assert (await content(target))[1:] == (await content(source))[1:]  # type: ignore[index]
        assert await problems(target) == []
        assert (await target.record([order(3), order(650)])).repeated == 2


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("left", [900, 300], ids=["digests are left", "a seal is left"])
async def test_what_went_while_it_was_read_goes_here_too(
    new_vault: Callable[[], Open], left: int, at_once: bool
) -> None:
    """The second page begins with a run that takes back what the first one said."""
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(n) for n in range(1800)])
        first = await source.links(1, 0, 700)
        await trim_all_but(source, left)
        rest = [link async for page in pages(source, 1, 500, after=700) for link in page]
        assert isinstance(rest[0], Anchor)
        assert rest[0].first == 1
        if at_once:
            await target.load([*first, *rest])
        else:
            await target.load(first)
            await target.load(rest, {1: 700})
        assert (await content(target))[1:] == (await content(source))[1:]  # type: ignore[index]
        assert await problems(target) == []
        await trim_all_but(target, 0)
        assert await whole_log(target) == ()
        assert await problems(target) == []
        assert (await target.record([order(3), order(750), order(1750)])).repeated == 3


async def test_what_went_here_joins_what_went_there(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([order(n, key="k-0" if n < 500 else "k-1") for n in range(1010)])
        await target.load(await source.links(1, 0, 500))
        for store, key, kept in ((target, "k-0", 0), (source, "k-1", 5)):
            while (await store.trim(Scope(key, keep_records=kept), 250)).more:
                pass
        await copy(source, target)
        whole, sealed, *_ = [link async for link in every_link(target, 1)]
        assert isinstance(whole, Anchor)
        assert (whole.first, whole.last, whole.digests) == (1, 1000, b"")
        assert sealed in [link async for link in every_link(source, 1)]
        assert await problems(target) == []
        assert (await target.record([order(3, key="k-0"), order(750, key="k-1")])).repeated == 2


async def test_what_was_erased_here_stands_within_what_was_trimmed_there(
    new_vault: Callable[[], Open],
) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([captured(f"c-{n}") for n in range(900)])
        await copy(source, target, 100, most=5)
        await target.erase(BUCKET, ["c-450"], by="token", why="asked to")
        await trim_all_but(source, 100)
        await copy(source, target)
        links = [link async for link in every_link(target, 1)]
        assert [type(link) for link in links[:3]] == [Anchor, Gone, Anchor]
        assert last_number(links[2]) == 800
        assert await problems(target) == []


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
