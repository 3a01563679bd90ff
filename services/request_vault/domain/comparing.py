"""What putting links of another log into a vault does to what is here already: what is the same, what goes
here because it went there, what is new; or why it is another log.

    check(links, partitions)
    comparing = Comparing(links of one partition, head, loaded_to)
    comparing.here(page) ...      what is here of comparing.reach
    comparing.outcome()           then the engine removes, and puts

Pure; both engines do what it says (`Store.load`). For each number, what is here (below each other) against
what is to be loaded (side by side):

                    record        erased              trimmed             trimmed whole
    record          is equal      same digest; goes   same digest; goes   same seal; goes
    erased          same digest   same digest         same digest         same seal; stays
    trimmed         same digest   same digest         same digest         same seal
    trimmed whole   same seal     same seal           same seal           same seal

A segment that was trimmed whole has no digests left. Where it is to be loaded, its seal comes right behind
it. Where the log here ends within it, there is no seal here, and nothing to compare: it is taken only when
the end here is known to be of the same log. It is when that was compared, then or before (`loaded_to`):
digests are salted, so two logs that share a record share all before it. Where it was trimmed whole here,
nothing changes, and nothing behind it is looked at before its seal is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from bus.errors import BusError
from services.request_vault.domain import chain
from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    Gone,
    Kept,
    Link,
    Seal,
    anchor,
    checksum_of,
    digest_of,
    digests_of,
    first_number,
    is_complete,
    last_number,
)
from services.request_vault.domain.recording import DECISIONS


class LinksDiffer(BusError):
    slug = "links-differ"
    meaning = "What is to be loaded into a vault does not follow from, or contradicts, what the vault holds."
    remedy = (
        "Load into an empty vault, or into one that was begun from the same log; nothing of it was taken."
    )
    exit_code = 65


class Going(msgspec.Struct, frozen=True):
    """Records that are here, ascending, and went where the links come from. erased: what was left of the one
    that was erased; without, they were trimmed."""

    numbers: tuple[int, ...]
    erased: Gone | None


class Run(msgspec.Struct, frozen=True):
    """Trimmed numbers that are not here yet: `first` to the anchor's last. digests: theirs. Of a segment that
    was trimmed whole there are none, but its `running`. anchor: what stands here from now on, with the
    identities of the new numbers; it takes in the anchors that it covers."""

    first: int
    digests: tuple[bytes, ...]
    running: bytes
    anchor: Anchor


New: TypeAlias = Kept | Gone | Run | Seal


class Outcome(msgspec.Struct, frozen=True):
    """First these go, then those are put behind the end here, one after another. The records among `new` are
    proved; their seals are to be compared with the chain that they give here."""

    going: tuple[Going, ...]
    new: tuple[New, ...]


def check(links: Sequence[Link], partitions: int) -> None:
    """Raises LinksDiffer for what can be loaded nowhere. partitions: of observations, here."""
    for link in links:
        at = (link.partition, first_number(link))
        if not 0 <= link.partition <= partitions:
            raise LinksDiffer(
                f"partition {link.partition} is to be loaded, but this vault has {partitions} for "
                "observations"
            )
        if isinstance(link, Damaged):
            raise LinksDiffer(f"position {at} cannot be read where it comes from: {link.why}")
        if isinstance(link, Gone | Anchor) and checksum_of(link) != link.checksum:
            raise LinksDiffer(f"what is left at {at}, to be loaded, does not match its checksum")
        if isinstance(link, Anchor) and (link.partition == DECISIONS or not is_complete(link)):
            raise LinksDiffer(f"what is left at {at}, to be loaded, is nothing that trimming leaves")


class Comparing:
    """theirs: links of one partition, checked. head: the newest number here. loaded_to: up to which number
    the same log was loaded here before, as far as the caller knows. All methods raise LinksDiffer."""

    def __init__(self, theirs: Sequence[Link], head: int, loaded_to: int) -> None:
        self._theirs = theirs
        self._partition = theirs[0].partition
        self._head = head
        self._known_to = loaded_to
        self._records = {link.number: link for link in theirs if isinstance(link, Kept)}
        self._kept: set[int] = set()
        self._erased: set[int] = set()
        self._trimmed: dict[int, int] = {}  # when, in µs
        self._digests: dict[int, bytes] = {}  # of all three
        self._whole: set[int] = set()  # by the last number
        self._seals: dict[int, Seal] = {}
        self._unproved: int | None = None  # the end of a segment whose seal has not been compared
        self._going: list[Going] = []
        self._new: list[New] = []

    @property
    def reach(self) -> tuple[int, int]:
        """What `here` is to be told: the links after the first number and up to the second, or some more."""
        after = self._head
        for link in self._theirs:
            # A run that goes on behind the end here joins the one before it.
            joins = isinstance(link, Anchor) and link.last > self._head
            after = min(after, first_number(link) - (2 if joins else 1))
        return max(after, 0), min(self._head, last_number(self._theirs[-1]))

    def here(self, links: Iterable[Link]) -> None:
        """What is here, page by page."""
        for link in links:
            match link:
                case Kept():
                    if self._records.get(link.number, link) != link:
                        raise self._another(link.number)
                    self._kept.add(link.number)
                    self._digests[link.number] = link.digest
                case Gone():
                    self._erased.add(link.number)
                    self._digests[link.number] = link.digest
                case Anchor():
                    if link.digests:
                        self._trimmed |= dict.fromkeys(range(link.first, link.last + 1), link.gone_us)
                        self._digests |= digests_of(link)
                    else:
                        self._whole.add(link.last)
                case Seal():
                    self._seals[link.number] = link
                case Damaged():
                    raise LinksDiffer(f"position {self._at(link.first)} cannot be read here: {link.why}")

    def outcome(self) -> Outcome:
        """Once, after `here` was told everything."""
        before: int | None = None
        for link, following in zip(self._theirs, [*self._theirs[1:], None], strict=True):
            self._follow(link, before)
            match link:
                case Seal():
                    self._seal(link)
                case Kept():
                    self._record(link)
                case Gone():
                    self._gone(link)
                case Anchor():
                    self._anchor(link, following)
            before = last_number(link)
        return Outcome(tuple(self._going), tuple(self._new))

    def _follow(self, link: Link, before: int | None) -> None:
        first = first_number(link)
        match link:
            case Seal():
                follows = first <= self._head if before is None else first == before
                follows = follows and chain.ends_segment(first)
            case Anchor() if before is not None:
                follows = first <= before + 1 and link.last > before
            case _:
                follows = first <= self._head + 1 if before is None else first == before + 1
        if not follows:
            end = self._head if before is None else before
            where = ", the end here" if end == self._head else ""
            raise LinksDiffer(f"position {self._at(first)} cannot follow {self._at(end)}{where}")
        if self._unproved is not None and first > self._unproved:
            raise self._sealless(chain.segment_of(self._unproved)[0])

    def _seal(self, link: Seal) -> None:
        if link.number > self._head:
            self._new.append(link)
            return
        if self._seals.get(link.number) != link:
            raise LinksDiffer(f"the chain here differs from the seal at {self._at(link.number)}")
        self._known_to = max(self._known_to, link.number)
        self._unproved = None

    def _record(self, link: Kept) -> None:
        if link.number <= self._head:
            self._compare(link.number, link.digest)
            return
        if checksum_of(link) != link.checksum or digest_of(link) != link.digest:
            at = self._at(link.number)
            raise LinksDiffer(f"the record to be loaded at {at} does not match its checksum and digest")
        self._new.append(link)

    def _gone(self, link: Gone) -> None:
        if link.number > self._head:
            self._new.append(link)
            return
        self._compare(link.number, link.digest)
        if link.number in self._kept:
            self._going.append(Going((link.number,), link))
            self._kept.discard(link.number)
            self._erased.add(link.number)

    def _anchor(self, link: Anchor, following: Link | None) -> None:
        here = range(link.first, min(link.last, self._head) + 1)
        digests = digests_of(link)
        if digests:
            for number in here:
                self._compare(number, digests[number])
        elif not isinstance(following, Seal) or following.number != link.last:
            raise self._sealless(link.first)
        elif here and link.last > self._head:
            self._compare_end(link)  # otherwise its seal, which is next, is compared
        if going := [number for number in here if number in self._kept]:
            self._going.append(Going(tuple(going), None))
            self._kept.difference_update(going)
            self._trimmed |= dict.fromkeys(going, link.gone_us)
        if link.last > self._head:
            running = following.running if isinstance(following, Seal) and not digests else b""
            self._new.append(self._run(link, digests, running))

    def _compare(self, number: int, digest: bytes) -> None:
        mine = self._digests.get(number)
        if mine is not None:
            if mine != digest:
                raise self._another(number)
            self._known_to = max(self._known_to, number)
        elif (last := chain.segment_of(number)[1]) in self._whole:
            self._unproved = last
        else:
            raise LinksDiffer(f"position {self._at(number)} is missing here")

    def _compare_end(self, link: Anchor) -> None:
        """Of a segment that was trimmed whole, and in which the log here ends."""
        if self._known_to < self._head:
            raise LinksDiffer(
                f"the vault ends at position {self._at(self._head)}; where these links come from, trimming "
                f"has left nothing of {link.first} to {link.last} but a seal: whether they are of one log "
                "cannot be told; load them into an empty vault"
            )
        if erased := [number for number in range(link.first, self._head + 1) if number in self._erased]:
            raise LinksDiffer(
                f"position {self._at(erased[0])} was erased here; where these links come from, trimming has "
                f"left nothing of {link.first} to {link.last} but a seal, and what is left here would go: "
                "load them into an empty vault"
            )

    def _run(self, link: Anchor, digests: dict[int, bytes], running: bytes) -> Run:
        """Retention that went on while the links were read may have joined what came before as records."""
        while self._new and _first(self._new[-1]) >= link.first:
            self._check_joined(self._new.pop(), digests)
        end = _last(self._new[-1]) if self._new else self._head
        if self._new and end >= link.first:
            raise LinksDiffer(f"position {self._at(link.first)} cannot follow {self._at(end)}")
        first = end + 1
        stands = link
        if digests:
            begin = first
            while begin - 1 in self._trimmed and not chain.begins_segment(begin):
                begin -= 1
            joined = [self._digests[number] for number in range(begin, first)]
            new = [digests[number] for number in range(first, link.last + 1)]
            gone_us = max([link.gone_us, *(self._trimmed[number] for number in range(begin, first))])
            stands = anchor(self._partition, begin, joined + new, gone_us)
        identities = tuple(each for each in link.identities if each.number >= first)
        stands = msgspec.structs.replace(stands, identities=identities)
        return Run(first, tuple(digests[n] for n in range(first, link.last + 1) if digests), running, stands)

    def _check_joined(self, taken: New, digests: dict[int, bytes]) -> None:
        match taken:
            case Kept() if digests.get(taken.number, taken.digest) == taken.digest:
                return
            case Run() if not digests or taken.digests == tuple(
                digests[number] for number in range(taken.first, taken.anchor.last + 1)
            ):
                return
        raise LinksDiffer(f"position {self._at(_first(taken))} is to be loaded twice, and as two things")

    def _another(self, number: int) -> LinksDiffer:
        return LinksDiffer(f"position {self._at(number)} is here already, and is not what is to be loaded")

    def _sealless(self, first: int) -> LinksDiffer:
        return LinksDiffer(f"the trimmed segment at {self._at(first)} is to be loaded with its seal")

    def _at(self, number: int) -> tuple[int, int]:
        return self._partition, number


def _first(new: New) -> int:
    return new.first if isinstance(new, Run) else new.number


def _last(new: New) -> int:
    return new.anchor.last if isinstance(new, Run) else new.number
