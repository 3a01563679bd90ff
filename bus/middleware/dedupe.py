"""Drops an event that this subscription has handled before.

Delivery is at least once; a handler whose effects cannot simply be repeated gets an inbox. `MemoryInbox`
serves one process and catches the common duplicate (a batch redelivered after a lost connection); an inbox
that instances share lives elsewhere and fits the same protocol. An identity is remembered after its handler
returned, never before: a crash in between repeats the event, it does not lose it.
"""

from __future__ import annotations

from typing import Protocol

from bus.middleware import Handle, Handled, Middleware

Identity = tuple[str, str]


class Inbox(Protocol):
    async def holds(self, subscription: str, identity: Identity) -> bool: ...

    async def add(self, subscription: str, identity: Identity) -> None: ...


class MemoryInbox:
    """The last `capacity` to `2 * capacity` identities, in two generations."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._young: set[Identity] = set()
        self._old: set[Identity] = set()

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._young or identity in self._old

    def remember(self, identity: Identity) -> None:
        if len(self._young) >= self._capacity:
            self._old = self._young
            self._young = set()
        self._young.add(identity)


def in_memory(inbox: MemoryInbox) -> Middleware:
    def wrap(proceed: Handle) -> Handle:
        async def deduped(delivery: Handled) -> None:
            event = delivery.event
            identity = (event.source, event.id)
            if identity in inbox:
                return
            await proceed(delivery)
            inbox.remember(identity)

        return deduped

    return wrap


def shared(inbox: Inbox) -> Middleware:
    def wrap(proceed: Handle) -> Handle:
        async def deduped(delivery: Handled) -> None:
            identity = delivery.event.identity
            if await inbox.holds(delivery.subscription, identity):
                return
            await proceed(delivery)
            await inbox.add(delivery.subscription, identity)

        return deduped

    return wrap
