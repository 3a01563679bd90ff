"""One pass over a vault that proves it, and learns what bodies its calls name. Used by `verify`, and after
everything that copies a vault."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from bus import codec
from bus.errors import Malformed, UnknownType
from schemas.traffic_gateway import CallCaptured
from services.request_vault.commands.telling import Advance
from services.request_vault.domain.calls import bodies_apart
from services.request_vault.domain.links import (
    Anchor,
    End,
    Gone,
    Kept,
    Link,
    Seal,
    first_number,
    last_number,
)
from services.request_vault.domain.verifying import Problem, Verifier
from services.request_vault.store.bodies import BodyName
from services.request_vault.store.port import Archive

PAGE_LINKS = 1000
MOST_PROBLEMS = 1000

OnNamed = Callable[[list[tuple[Kept, BodyName]]], Awaitable[None]]

_CAPTURED = CallCaptured.TYPE.encode()


@dataclass
class Proof:
    """What was found. problems: the first MOST_PROBLEMS of `found`."""

    problems: list[Problem] = field(default_factory=list)
    found: int = 0
    events: int = 0
    erased: int = 0
    trimmed: int = 0

    def add(self, problems: list[Problem]) -> None:
        self.found += len(problems)
        self.problems += problems[: MOST_PROBLEMS - len(self.problems)]

    def count(self, link: Link) -> None:
        match link:
            case Kept():
                self.events += 1
            case Gone():
                self.erased += 1
            case Anchor():
                self.trimmed += link.last - link.first + 1


async def walk(archive: Archive, end: End) -> AsyncIterator[list[Link]]:
    """The partition's links up to `end`, a page at a time; what was recorded since is left out."""
    after = 0
    while after < end.number:
        page = await archive.links(end.partition, after, PAGE_LINKS)
        if not page:
            return
        after = last_number(page[-1])
        yield _up_to(end.number, page)


async def prove(archive: Archive, advance: Advance, named: OnNamed | None = None) -> Proof:
    """Every link of every partition. named(...): is called with the records that name bodies, and these, page
    by page. Raises Unavailable."""
    proof = Proof()
    for end in await archive.ends():
        verifier = Verifier(end.partition, end)
        async for page in walk(archive, end):
            found = await asyncio.to_thread(_prove_page, proof, verifier, page)
            if named is not None:
                await named(found)
            advance(len(page))
        proof.add(verifier.finish())
    return proof


def _prove_page(proof: Proof, verifier: Verifier, page: list[Link]) -> list[tuple[Kept, BodyName]]:
    for link in page:
        proof.add(verifier.feed(link))
        proof.count(link)
    return [(link, name) for link in page if isinstance(link, Kept) for name in bodies_named(link)]


def bodies_named(kept: Kept) -> list[BodyName]:
    """The bodies that a record's event names, if it is a call; none when it cannot be read."""
    if _CAPTURED not in kept.event:
        return []
    try:
        event = codec.decode_event(kept.event)
        if event.type != CallCaptured.TYPE:
            return []
        return [BodyName(kept.key, sha256) for sha256 in bodies_apart(event.read(CallCaptured))]
    except (Malformed, UnknownType):
        return []


class Named:
    """Bodies by name, many: 16 bytes each."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: BodyName) -> bool:
        return _short(name) in self._known

    def add(self, name: BodyName) -> bool:
        """Whether it is new."""
        before = len(self._known)
        self._known.add(_short(name))
        return len(self._known) > before


def _short(name: BodyName) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode(name), digest_size=16).digest()


def _up_to(end: int, page: list[Link]) -> list[Link]:
    """A run that retention has joined beyond the end comes along whole, with its seal."""
    kept = [link for link in page if first_number(link) <= end]
    behind = page[len(kept) : len(kept) + 1]
    if kept and isinstance(kept[-1], Anchor) and behind and isinstance(behind[0], Seal):
        kept += behind
    return kept
