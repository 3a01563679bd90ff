"""Whether a partition of the log is what was recorded: one pass over its links, in order of position.

    verifier = Verifier(partition, end)
    problems = [*verifier.feed(link), ..., *verifier.finish()]

Pure. Used by verification, and after a backup or an import. It proves each record against its checksum, its
salted digest and its own envelope; each digest against the chain up to the end; that no number is left out or
there twice; `prev` of each decision; the versions of streams, as far as MAX_STREAMS are remembered (those of
observations only increase: retention leaves gaps). Memory does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bus import codec
from bus.errors import Malformed
from schemas.request_vault import Position
from services.request_vault.domain import chain
from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    End,
    Gone,
    Identity,
    Kept,
    Link,
    Seal,
    checksum_of,
    checksum_of_identity,
    digest_of,
    digests_of,
    is_complete,
)
from services.request_vault.domain.recording import DECISIONS, category_of, stream_of, to_us

MAX_STREAMS = 50_000


class Problem(msgspec.Struct, frozen=True):
    position: Position
    what: str


class Verifier:
    """`end`: where the partition ended when the reading began; what came later is proved too, but for its own
    end."""

    def __init__(self, partition: int, end: End) -> None:
        self._partition = partition
        self._end = end
        self._number = 0
        self._before = 0
        self._running: bytes | None = chain.START  # None: not known until the next seal
        self._chain: bytes | None = chain.START
        self._unsealed = False
        self._end_seen = end.number == 0
        self._categories: dict[str, int] = {}
        self._streams: dict[str, int] = {}
        self._forgot = False
        self.records = 0
        self.gone = 0

    @property
    def reached(self) -> int:
        """The newest number that was proved or found wanting."""
        return self._number

    def feed(self, link: Link) -> list[Problem]:
        """What is wrong with it; empty when nothing is."""
        if link.partition != self._partition:
            return [self._problem(self._number, f"a link of partition {link.partition} is among these")]
        match link:
            case Kept():
                found = self._kept(link)
            case Gone():
                found = self._gone(link)
            case Anchor():
                found = self._anchor(link)
            case Seal():
                found = self._seal(link)
            case Damaged():
                found = self._damaged(link)
        return [self._problem(number, what) for number, what in found]

    def finish(self) -> list[Problem]:
        """What only shows at the end."""
        problems = []
        if self._unsealed:
            problems.append(self._problem(self._number, "the segment that ends here has no seal"))
        if self._number < self._end.number:
            problems.append(
                self._problem(
                    self._number + 1,
                    f"the log is to end at {self._end.number}; what follows {self._number} is missing",
                )
            )
        elif not self._end_seen:
            problems.append(self._problem(self._end.number, "the chain was not seen where it is to end"))
        if self._end.number == 0 and (self._end.running, self._end.chain) != (chain.START, chain.START):
            problems.append(self._problem(0, "an empty partition has a chain"))
        return problems

    def _kept(self, link: Kept) -> Iterator[tuple[int, str]]:
        yield from self._follow(link.number, link.number)
        self.records += 1
        sound = checksum_of(link) == link.checksum
        digest = digest_of(link)
        if not sound:
            yield link.number, "the record does not match its checksum"
        if digest != link.digest:
            yield link.number, "the record does not match its digest"
        # The chain tells which of the two was changed; the checksum says which is likely sound.
        yield from self._run_on(link.number, digest if sound else link.digest)
        yield from self._place_in_stream(link)
        try:
            event = codec.decode_event(link.event)
            stream = link.stream if self._partition == DECISIONS else stream_of(event)
            category = category_of(stream) if self._partition == DECISIONS else None
        except Malformed as error:
            yield link.number, f"its event cannot be read: {error}"
            return
        for name, stored, told in (
            ("stream", link.stream, stream),
            ("category", link.category, category),
            ("key", link.key, event.key),
            ("time", link.time_us, to_us(event.time)),
        ):
            if stored != told:
                yield link.number, f"its {name} is {stored!r} beside the event, but the event says {told!r}"

    def _gone(self, link: Gone) -> Iterator[tuple[int, str]]:
        yield from self._follow(link.number, link.number)
        self.gone += 1
        if checksum_of(link) != link.checksum:
            yield link.number, "what is left of an erased record does not match its checksum"
        yield from self._run_on(link.number, link.digest)
        yield from self._place_in_stream(link)
        if link.identity is not None:
            yield from self._identity(link.identity, link.number, link.number)

    def _anchor(self, link: Anchor) -> Iterator[tuple[int, str]]:
        first, last = chain.segment_of(link.first)
        whole = (first, last) == (link.first, link.last)
        if self._partition == DECISIONS:
            yield link.first, "decisions are never trimmed, but here is what trimming leaves"
        if checksum_of(link) != link.checksum:
            yield link.first, f"what is left of trimmed records, to {link.last}, does not match its checksum"
        if not is_complete(link):
            yield (
                link.first,
                f"a run of trimmed records, to {link.last}, has not the digests that it is to have",
            )
            self._lose(max(self._number, min(link.last, last)))
            return
        # Retention that goes on while the log is read may have joined numbers that were proved already.
        yield from self._follow(min(max(link.first, self._number + 1), link.last + 1), link.last)
        self.gone += link.last - link.first + 1
        if whole:
            self._running = None
            if link.first <= self._end.number <= link.last:
                self._end_seen = True  # proved by what follows: its digests are gone
        else:
            for number, digest in digests_of(link).items():
                if number > self._before:
                    yield from self._run_on(number, digest)
        for identity in link.identities:
            yield from self._identity(identity, link.first, link.last)

    def _seal(self, link: Seal) -> Iterator[tuple[int, str]]:
        if link.number > self._number:
            yield self._number + 1, f"missing, to {link.number}"
            self._lose(link.number)
        elif not self._unsealed or link.number < self._number:
            yield link.number, f"a seal stands after {self._number}"
            return
        self._unsealed = False
        if self._running is not None and self._running != link.running:
            yield link.number, "the records of the segment that ends here do not give its seal"
        if self._chain is not None and chain.sealed(self._chain, link.running) != link.chain:
            yield link.number, "the seal does not continue the chain of those before it"
        self._running, self._chain = chain.START, link.chain
        yield from self._compare_end(link.number)

    def _damaged(self, link: Damaged) -> Iterator[tuple[int, str]]:
        yield link.first, f"cannot be read{f', to {link.last}' if link.last > link.first else ''}: {link.why}"
        self._lose(max(self._number, link.last))

    def _lose(self, number: int) -> None:
        """Go on behind what is missing or cannot be read; the next seal is taken as it is."""
        self._forgot = True
        self._streams.clear()
        self._categories.clear()
        if (number - 1) // chain.SEGMENT > self._number // chain.SEGMENT:
            self._chain = None  # a seal is missing too
        self._number = number
        self._running = None
        self._unsealed = chain.ends_segment(number)
        self._end_seen = self._end_seen or number >= self._end.number

    def _follow(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        self._before = self._number
        if self._unsealed and last > self._number:
            yield self._number, "the segment that ends here has no seal"
            self._chain = None
        if first > self._number + 1:
            yield self._number + 1, f"missing, to {first - 1}"
            self._lose(first - 1)
        elif first <= self._number and first <= last:
            yield first, f"it stands after {self._number}"
        if last > self._number:
            self._number = last
            self._unsealed = chain.ends_segment(last)

    def _run_on(self, number: int, digest: bytes) -> Iterator[tuple[int, str]]:
        if chain.begins_segment(number):
            self._running = chain.START
        if self._running is not None:
            self._running = chain.run_on(self._running, digest)
        if not chain.ends_segment(number):
            yield from self._compare_end(number)

    def _compare_end(self, number: int) -> Iterator[tuple[int, str]]:
        if number != self._end.number:
            return
        self._end_seen = True
        if self._running is not None and self._running != self._end.running:
            yield number, "the records up to the log's end do not give the digest that is kept for it"
        if self._chain is not None and self._chain != self._end.chain:
            yield number, "the seals up to the log's end do not give the chain that is kept for it"

    def _place_in_stream(self, link: Kept | Gone) -> Iterator[tuple[int, str]]:
        last = self._streams.pop(link.stream, None)
        self._streams[link.stream] = link.version
        if len(self._streams) > MAX_STREAMS:
            del self._streams[next(iter(self._streams))]
            self._forgot = True
        if self._partition == DECISIONS:
            yield from self._decision(link, last)
        elif last is not None and link.version <= last:
            yield (
                link.number,
                f"version {link.version} of stream {link.stream} stands after its version {last}",
            )

    def _decision(self, link: Kept | Gone, last: int | None) -> Iterator[tuple[int, str]]:
        known = last is not None or not self._forgot
        if known and link.version != (last or 0) + 1:
            yield (
                link.number,
                f"version {link.version} of stream {link.stream} stands after its version {last or 0}",
            )
        category = link.category or ""
        before = self._categories.get(category)
        if link.prev != before and (before is not None or not self._forgot):
            yield link.number, f"prev is {link.prev}, but the category's decision before it is {before}"
        self._categories[category] = link.number

    def _identity(self, identity: Identity, first: int, last: int) -> Iterator[tuple[int, str]]:
        if not first <= identity.number <= last or identity.checksum != checksum_of_identity(
            self._partition, identity
        ):
            yield (
                identity.number,
                "the identity that is kept of a record that is gone does not match its checksum",
            )

    def _problem(self, number: int, what: str) -> Problem:
        return Problem((self._partition, number), what)
