"""A subscription that takes many events at once: merged over frames, settled together, tried singly when it
fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import bus
from bus import codec
from bus.event import Event
from bus.message import Fact, Subscription
from bus.router import Router
from bus.testing import Harness, turns
from bus.transport import Frame
from tests.bus.memory import MemoryTransport, memory_bus

VAULT = Subscription("vault", ("shop.#",))


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    number: int


class Vault:
    def __init__(self, max_events: int = 1000, beside: int = 1, **options: object) -> None:
        self.lists: list[list[int]] = []
        self.stored: list[int] = []
        self.refuse: Callable[[list[int]], Exception | None] = lambda numbers: None
        self.gate: asyncio.Event | None = None
        self.router = Router(VAULT, **options)  # type: ignore[arg-type]
        self.router.on_batch(self.on_events, max_events=max_events, beside=beside)

    async def on_events(self, events: list[Event]) -> None:
        numbers = [event.read(OrderPlaced).number for event in events]
        self.lists.append(numbers)
        if self.gate is not None:
            await self.gate.wait()
        error = self.refuse(numbers)
        if error is not None:
            raise error
        self.stored += numbers

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Harness, MemoryTransport]]:
        async with memory_bus() as (harness, transport), harness.serve(self.router):
            yield harness, transport


async def place(b: Harness, *numbers: int) -> None:
    await b.publish(*map(OrderPlaced, numbers))


async def test_what_has_arrived_is_merged_over_frames() -> None:
    vault = Vault()
    async with vault.open() as (b, transport):
        vault.gate = asyncio.Event()
        for number in range(10):
            await place(b, number)
        await turns()
        vault.gate.set()
        await b.settled()
        assert vault.lists == [[0], list(range(1, 10))]
        assert transport.queues["vault"].depth == 0
        [subscriber] = b.subscribers
        assert subscriber.metrics.handled == 10


async def test_two_lists_may_be_in_hand_beside_each_other() -> None:
    vault = Vault(max_events=2, beside=2)
    async with vault.open() as (b, transport):
        vault.gate = asyncio.Event()
        for number in range(8):
            await place(b, number)
        await turns()
        assert vault.lists == [[0], [1]]
        vault.gate.set()
        await b.settled()
        assert sorted(vault.stored) == list(range(8))
        assert transport.queues["vault"].depth == 0


async def test_a_dependency_away_is_probed_by_one_and_the_others_hand_back() -> None:
    vault = Vault(max_events=2, beside=2)
    vault.refuse = lambda numbers: bus.Unavailable("disk full")
    async with vault.open() as (b, transport):
        vault.gate = asyncio.Event()
        for number in range(8):
            await place(b, number)
        await turns()
        vault.gate.set()
        await b.clock.advance(300)
        assert vault.stored == []
        assert transport.queues["vault"].depth == 8
        [subscriber] = b.subscribers
        assert subscriber.metrics.paused == 1
        assert vault.lists[:2] == [[0], [1]]
        assert all(numbers == vault.lists[2] for numbers in vault.lists[2:])
        vault.refuse = lambda numbers: None
        await b.clock.advance(60)
        await b.settled()
        assert sorted(vault.stored) == list(range(8))
        assert await b.parked() == []


async def test_a_suspect_waits_until_nothing_else_is_in_hand() -> None:
    vault = Vault(max_events=2, beside=2)
    async with vault.open() as (b, transport):
        vault.gate = asyncio.Event()
        await place(b, 0)
        await turns()
        suspect = codec.encode_batch([b.envelop(OrderPlaced(1))])
        transport.queues["vault"].put(Frame(suspect, ("shop.order.placed._",), suspect=True))
        await place(b, 2)
        await turns()
        assert vault.lists == [[0]]
        vault.gate.set()
        await b.settled()
        assert vault.lists == [[0], [1], [2]]


async def test_a_list_has_about_max_events() -> None:
    vault = Vault(max_events=100)
    async with memory_bus() as (b, _):
        await b.declare(VAULT)
        for start in range(0, 1000, 50):
            await place(b, *range(start, start + 50))
        async with b.serve(vault.router):
            await b.settled()
    assert sorted(vault.stored) == list(range(1000))
    assert {len(numbers) for numbers in vault.lists} == {100}


async def test_a_poison_event_is_found_by_trying_each_alone() -> None:
    vault = Vault(retry_delays_s=(1,))
    vault.refuse = lambda numbers: ValueError("seven") if 7 in numbers else None
    async with vault.open() as (b, _):
        await place(b, *range(20))
        await b.settled()
        assert sorted(vault.stored) == [number for number in range(20) if number != 7]
        await b.clock.advance(2)
        await b.settled()
        [parked] = await b.parked()
        assert (parked.reason, parked.attempts) == ("ValueError: seven", 2)
        assert vault.lists.count([7]) == 2


async def test_rejected_events_are_parked_and_the_others_settled() -> None:
    vault = Vault()
    vault.refuse = lambda numbers: bus.Reject("odd") if any(number % 2 for number in numbers) else None
    async with vault.open() as (b, _):
        await place(b, *range(6))
        await b.settled()
        assert vault.stored == [0, 2, 4]
        assert [parked.reason for parked in await b.parked()] == ["odd"] * 3


async def test_a_dependency_away_for_an_hour_pauses_and_parks_nothing() -> None:
    vault = Vault()
    vault.refuse = lambda numbers: bus.Unavailable("disk full")
    async with vault.open() as (b, transport):
        for number in range(30):
            await place(b, number)
        await b.clock.advance(3600)
        assert vault.stored == []
        assert transport.queues["vault"].depth == 30
        assert len(vault.lists) < 300
        vault.refuse = lambda numbers: None
        await b.clock.advance(60)
        await b.settled()
        assert sorted(vault.stored) == list(range(30))
        assert await b.parked() == []


async def test_a_dependency_that_goes_away_while_each_is_tried_alone_stores_nothing_twice_in_a_list() -> None:
    vault = Vault()
    away = False

    def refuse(numbers: list[int]) -> Exception | None:
        nonlocal away
        if len(numbers) > 1:
            return ValueError("try singly")
        if numbers == [2] and not away:
            away = True
            return bus.Unavailable("gone for a moment")
        return None

    vault.refuse = refuse
    async with vault.open() as (b, _):
        await place(b, *range(5))
        await b.clock.advance(2)
        await b.settled()
        assert vault.stored == list(range(5))
        assert await b.parked() == []


async def test_a_handler_that_hangs_is_stopped() -> None:
    vault = Vault(deadline_s=10, retry_delays_s=())
    vault.gate = asyncio.Event()
    async with vault.open() as (b, _):
        await place(b, 1)
        await b.clock.advance(13)
        await b.settled()
        [parked] = await b.parked()
        assert "did not finish within 10 s" in parked.reason


async def test_what_came_back_twice_is_taken_apart_and_suspects_are_taken_alone() -> None:
    vault = Vault()
    async with vault.open() as (b, transport):
        events = [b.envelop(OrderPlaced(number)) for number in range(3)]
        frame = Frame(codec.encode_batch(events), (events[0].topic,))
        vault.gate = asyncio.Event()
        await place(b, 9)
        await turns()
        transport.queues["vault"].put(frame, returned=2)
        await place(b, 10)
        await turns()
        vault.gate.set()
        await b.settled()
        assert sorted(vault.stored) == [0, 1, 2, 9, 10]
        assert [[number] for number in range(3)] == [each for each in vault.lists if each[0] < 3]


async def test_what_cannot_be_read_is_parked_and_holds_up_nothing() -> None:
    vault = Vault()
    async with vault.open() as (b, transport):
        transport.queues["vault"].put(Frame(b"?", ("shop.order.placed._",)))
        await place(b, 1)
        await b.settled()
        assert vault.stored == [1]
        assert len(await b.parked()) == 1


async def test_on_exit_the_list_in_hand_is_finished_and_the_rest_goes_back() -> None:
    vault = Vault()
    vault.gate = asyncio.Event()
    async with memory_bus() as (b, transport):
        async with asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()

            async def serve() -> None:
                async with b.serve(vault.router):
                    await stop.wait()

            tasks.create_task(serve())
            await turns()
            await place(b, 0, 1)
            await turns()
            await place(b, 2)
            stop.set()
            await turns()
            vault.gate.set()
        assert vault.stored == [0, 1]
        assert [returned for _, returned in transport.queues["vault"].waiting] == [0]


async def test_an_end_while_a_dependency_is_away_counts_as_no_return() -> None:
    vault = Vault()
    vault.refuse = lambda numbers: bus.Unavailable("disk full")
    async with memory_bus() as (b, transport):
        await b.declare(VAULT)
        await place(b, 0, 1, 2)
        for _ in range(10):
            async with b.serve(vault.router):
                await b.clock.advance(5)
            assert [returned for _, returned in transport.queues["vault"].waiting] == [0]
