"""An identity is remembered after its handler returned, never before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from bus.connect import Bus
from bus.event import Event
from bus.middleware import Handle, Handled, Middleware, dedupe
from bus.router import Delivery


class SlowInbox:
    """An inbox that instances might share."""

    def __init__(self) -> None:
        self.known: set[tuple[str, dedupe.Identity]] = set()

    async def holds(self, subscription: str, identity: dedupe.Identity) -> bool:
        return (subscription, identity) in self.known

    async def add(self, subscription: str, identity: dedupe.Identity) -> None:
        self.known.add((subscription, identity))


def delivery(id: str, source: str = "shop", subscription: str = "billing") -> Delivery:
    event = Event(id, source, "a.b", 1, "_", None, datetime(2026, 1, 1, tzinfo=UTC))
    return Delivery(event, 0, subscription, cast(Bus, None))


KINDS: list[Callable[[], Middleware]] = [
    lambda: dedupe.in_memory(dedupe.MemoryInbox()),
    lambda: dedupe.shared(SlowInbox()),
]


def counted(kind: Callable[[], Middleware]) -> tuple[Handle, list[str], list[Exception]]:
    handled: list[str] = []
    failures: list[Exception] = []

    async def proceed(delivery: Handled) -> None:
        if failures:
            raise failures.pop()
        handled.append(delivery.event.id)

    return kind()(proceed), handled, failures


@pytest.mark.parametrize("kind", KINDS)
async def test_the_second_time_an_event_is_dropped(kind: Callable[[], Middleware]) -> None:
    handle, handled, _ = counted(kind)
    await handle(delivery("e-1"))
    await handle(delivery("e-1"))
    await handle(delivery("e-1", source="another shop"))
    assert handled == ["e-1", "e-1"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_failed_is_not_remembered(kind: Callable[[], Middleware]) -> None:
    handle, handled, failures = counted(kind)
    failures.append(ValueError())
    with pytest.raises(ValueError):
        await handle(delivery("e-1"))
    await handle(delivery("e-1"))
    assert handled == ["e-1"]


async def test_a_shared_inbox_tells_subscriptions_apart() -> None:
    handle, handled, _ = counted(KINDS[1])
    await handle(delivery("e-1"))
    await handle(delivery("e-1", subscription="audit"))
    assert handled == ["e-1", "e-1"]


def test_memory_is_bounded_and_holds_at_least_the_last_capacity() -> None:
    inbox = dedupe.MemoryInbox(capacity=100)
    for number in range(1000):
        inbox.remember(("s", str(number)))
        assert all(("s", str(each)) in inbox for each in range(max(0, number - 99), number + 1))
    assert sum(("s", str(number)) in inbox for number in range(1000)) <= 200
