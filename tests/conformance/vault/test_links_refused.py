"""What a vault does not load: links of another log, links that do not prove themselves, and those of which
nobody can tell. Nothing of them is taken then."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import pytest

from services.request_vault.domain.comparing import LinksDiffer
from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    Gone,
    Kept,
    Link,
    Seal,
    checksum_of,
    digest_of,
    last_number,
)
from services.request_vault.store.port import Scope, Store
from tests.conformance.vault.copies import content, copy, trim_all_but
from tests.conformance.vault.proofs import every_link, problems
from tests.conformance.vault.vaults import Open, whole_log
from tests.services.request_vault.samples import BUCKET, captured, order


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


async def refused(
    target: Store, links: list[Link], said: str, loaded_to: dict[int, int] | None = None
) -> None:
    """And nothing is another here."""
    before = await content(target)
    with pytest.raises(LinksDiffer, match=said):
        await target.load(links, loaded_to)
    assert await content(target) == before
    assert await problems(target) == []


async def test_a_segment_that_went_is_not_taken_over_a_part_of_it(new_vault: Callable[[], Open]) -> None:
    """Whether it is the same cannot be told, whether it is or not."""
    async with new_vault()() as source, new_vault()() as same, new_vault()() as foreign:
        await source.record([order(n) for n in range(1200)])
        await copy(source, same, 100, most=6)
        await foreign.record([order(n) for n in range(600)])
        await trim_all_but(source, 100)
        links = [link async for link in every_link(source, 1)]
        for target in (same, foreign):
            for loaded_to in (None, {1: 599}, {2: 600}):
                said = r"ends at position \(1, 600\).*cannot be told; load them into an empty vault"
                await refused(target, links, said, loaded_to)
        await same.load(links, {1: 600})
        assert await problems(same) == []
        assert (await content(same))[1:] == (await content(source))[1:]  # type: ignore[index]


async def test_a_segment_that_went_is_compared_by_its_seal(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as same, new_vault()() as foreign:
        await source.record([order(n) for n in range(1200)])
        await copy(source, same)
        await foreign.record([order(n) for n in range(1200)])
        await trim_all_but(source, 100)
        whole, sealed, *_ = [link async for link in every_link(source, 1)]
        assert isinstance(whole, Anchor)
        for target in (same, foreign):
            await refused(target, [whole], r"\(1, 1\) is to be loaded with its seal")
        await refused(foreign, [whole, sealed], r"chain .* \(1, 1000\)")
        await same.load([whole, sealed])
        assert len(await whole_log(same)) == 200
        assert await problems(same) == []


async def test_nothing_follows_a_segment_that_went_here_unless_it_is_the_same(
    new_vault: Callable[[], Open],
) -> None:
    async with new_vault()() as source, new_vault()() as same, new_vault()() as foreign:
        await source.record([order(n) for n in range(1005)])
        links = [link async for link in every_link(source, 1)]
        await same.load(links[:1001])
        await foreign.record([order(n + 5000) for n in range(1000)])
        for target in (same, foreign):
            await trim_all_but(target, 0)
            sealless: list[Link] = [link for link in links if not isinstance(link, Seal)]
            await refused(target, sealless, r"\(1, 1\) is to be loaded with its seal")
        await refused(foreign, links, r"chain .* \(1, 1000\)")
        await same.load(links)
        assert len(await whole_log(same)) == 5


async def test_an_erasure_here_is_not_given_up_for_a_segment_that_went(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([captured(f"c-{n}") for n in range(1100)])
        await copy(source, target, 100, most=6)
        await target.erase(BUCKET, ["c-450"], by="token", why="asked to")
        await trim_all_but(source, 50)
        links = [link async for link in every_link(source, 1)]
        await refused(target, links, r"\(1, 451\) was erased here", {1: 600})


@pytest.mark.parametrize("there", ["is kept", "was erased", "was trimmed"])
@pytest.mark.parametrize("here", ["is kept", "was erased", "was trimmed"])
async def test_a_record_of_another_log_is_refused_whatever_is_left_of_it(
    new_vault: Callable[[], Open], here: str, there: str
) -> None:
    async with new_vault()() as source, new_vault()() as target:
        for store, what in ((source, there), (target, here)):
            await store.record([captured(f"c-{n}") for n in range(5)])
            match what:
                case "was erased":
                    await store.erase(BUCKET, ["c-0"], by="token", why="asked to")
                case "was trimmed":
                    await store.trim(Scope(keep_records=4), 1)
        (link, *_) = await source.links(1, 0, 10)
        assert last_number(link) == 1
        await refused(target, [link], r"\(1, 1\) is here already")


async def test_what_is_left_must_be_what_trimming_and_erasing_leave(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as source, new_vault()() as target:
        await source.record([captured(f"c-{n}") for n in range(9)])
        await source.erase(BUCKET, ["c-2"], by="token", why="asked to")
        await source.trim(Scope(keep_records=6), 10)
        trimmed, erased, *others = await source.links(1, 0, 20)
        assert isinstance(trimmed, Anchor)
        assert isinstance(erased, Gone)
        changed: list[tuple[Link, str]] = [
            (msgspec.structs.replace(trimmed, gone_us=1), r"\(1, 1\).* match its checksum"),
            (msgspec.structs.replace(erased, by="somebody"), r"\(1, 3\).* match its checksum"),
            (_sound(msgspec.structs.replace(trimmed, last=5)), "nothing that trimming leaves"),
            (_sound(msgspec.structs.replace(trimmed, digests=b"")), "nothing that trimming leaves"),
            (_sound(msgspec.structs.replace(trimmed, partition=0)), "nothing that trimming leaves"),
            (Damaged(1, 1, 1, "it is torn"), r"\(1, 1\) cannot be read where it comes from: it is torn"),
        ]
        for link, said in changed:
            await refused(target, [link], said)
        await refused(target, [trimmed, *others], r"\(1, 4\) cannot follow \(1, 2\)")
        await refused(target, [trimmed, Seal(1, 2, bytes(32), bytes(32))], r"\(1, 2\) cannot follow")
        await target.load([trimmed, erased, *others])
        assert await content(target) == await content(source)


def _sound(anchor: Anchor) -> Anchor:
    return msgspec.structs.replace(anchor, checksum=checksum_of(anchor))
