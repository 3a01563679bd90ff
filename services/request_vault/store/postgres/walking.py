"""Which entries of which index a search looks at, in which order, and how many.

A walk goes over one index from the newest call downwards (a follower's: upwards). Which index: each that a
term of the query allows is probed for its first PROBE entries, and the one that spreads them thinnest is
walked, because it holds the fewest calls between one that is wanted and the next. A term under OR allows a
walk when all its alternatives do. The planner is told by how a condition is written: only that of the chosen
index has the form that the index has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from services.calls.query import AllOf, AnyOf, Compared, Is, StatusClass, Term, Text, Words
from services.request_vault.domain import chain
from services.request_vault.domain.calls import CLOCK_LEAD_US, CallQuery
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.filtering import Conditions
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.places import NUMBER_MASK, first_place
from services.request_vault.store.postgres.rows import fetch, stored
from services.request_vault.store.postgres.texts import Texts

PROBE = 1000

# How many whole segments of the partition were recorded before $3, by halving: times of recording never go
# back.
_SEGMENTS_BEFORE = f"""
WITH RECURSIVE halved(low, high) AS (
    SELECT 0::bigint, (number / {chain.SEGMENT})::bigint FROM head WHERE partition = $1
    UNION ALL
    SELECT CASE WHEN late THEN low ELSE (low + high) / 2 + 1 END,
           CASE WHEN late THEN (low + high) / 2 ELSE high END
    FROM halved, LATERAL (
        SELECT coalesce(
            (SELECT recorded_us >= $3 FROM seal WHERE place = $2 + ((low + high) / 2 + 1) * {chain.SEGMENT}),
            true
        ) AS late
    ) middle
    WHERE low < high
)
SELECT low FROM halved WHERE low >= high
"""

_INDEXED = {
    "host": "left(host, 200) = left({value}, 200)",
    "template": "left(template, 200) = left({value}, 200)",
    "method": 'left(lower(method), 64) = left(lower({value} COLLATE "C"), 64)',
    "status": "status / 100 = {value}",
    "error": "error IS NOT NULL",
    "starred": "starred = 1",
    "shared": "share IS NOT NULL",
}
"""By index, what its entries are found by. Of a long text it knows the beginning only: the search's other
conditions compare the rest."""


class Arm(NamedTuple):
    """entries: a SELECT of places (w_place), unordered. calls: when it is over the table of calls, the
    condition of that."""

    entries: str
    calls: str = ""


class Walk(NamedTuple):
    """arms: together they hold every call that is wanted."""

    arms: tuple[Arm, ...]

    def entries(self, order: str) -> str:
        if len(self.arms) == 1:
            return f"{self.arms[0].entries} ORDER BY w_place {order}"
        # Each arm in order by itself: so they are merged, and no further than is asked for.
        arms = " UNION ALL ".join(f"({arm.entries} ORDER BY w_place {order})" for arm in self.arms)
        return f"SELECT DISTINCT w_place FROM ({arms}) a ORDER BY w_place {order}"


class Walking:
    """A search made ready (`prepared`): `source` is `FROM ...` over the calls (as c) that are wanted among
    the `scan` entries of the index that come first, to be put in `order`."""

    def __init__(
        self,
        connection: Connection,
        generations: Generations,
        query: CallQuery,
        partition: int,
        *,
        before: int | None,
        after: int | None,
        scan: int,
        texts: Texts,
    ) -> None:
        base = first_place(partition)
        self._connection = connection
        self._generations = generations
        self._query = query
        self._partition = partition
        self._texts = texts
        self._newest_first = after is None
        self._order = "DESC" if after is None else "ASC"
        self._first = base + 1 + (after or 0)
        self._end = base + (NUMBER_MASK if before is None else before)
        self._scan = scan
        self._cut = False
        self._walk = Walk(())
        self.parameters: dict[str, Any] = {"bucket": stored(query.bucket), "scan": scan, "probe": PROBE}
        self._conditions = Conditions(self.parameters)
        self.source = ""
        self.order = f"ORDER BY c.place {self._order}"

    async def prepared(self) -> Walking:
        query = self._query
        if query.since_us is not None:
            since = await _first_since(self._connection, self._partition, query.since_us - CLOCK_LEAD_US)
            self._first = max(self._first, since)
        terms = tuple(_terms(query))
        phrases = [term for term in terms if isinstance(term, Words) and term.scope != "note"]
        wanted = [self._conditions.of(term) for term in terms if term not in phrases]
        nested = dict(self._conditions.phrases)
        if phrases or nested:
            await self._stop_at_reach()
        listed = {phrase: self._conditions.of(phrase) for phrase in phrases}
        await self._look_up(phrases)
        lists = {phrase: self._listed(phrase) for phrase in phrases}
        self._walk = await self._thinnest([*self._walks(terms), *lists.values()])
        wanted += [listed[phrase] for phrase, walk in lists.items() if walk is not self._walk]
        if nested:
            await self._bound_by_scan()
            await self._look_up([phrase for phrase in nested if phrase not in phrases])
        call, walk = self._generations.call, self._walk
        if len(walk.arms) == 1 and walk.arms[0].calls:  # an entry's row is read once, where the index points
            wanted_by = walk.arms[0].calls
            source = f"(SELECT * FROM {call} WHERE {wanted_by} ORDER BY place {self._order} LIMIT :scan) c"
        else:
            source = f"({walk.entries(self._order)} LIMIT :scan) w JOIN {call} c ON c.place = w.w_place"
        self.source = f"FROM {source} WHERE {' AND '.join([*_plain(query, self._conditions), *wanted])}"
        return self

    async def reached(self) -> int | None:
        """The place up to which (inclusive) the walk has looked, None when that is all there is."""
        count, last = await self._extent(":scan")
        if count == self._scan:
            return last
        if self._cut:
            return self._first if self._newest_first else self._end - 1
        return None

    async def _stop_at_reach(self) -> None:
        self._end = min(self._end, await self._texts.reach(self._connection, self._partition) + 1)

    async def _look_up(self, phrases: list[Words]) -> None:
        """The places of phrases within what is looked at, which becomes less when a phrase has too many."""
        for phrase in phrases:
            found = await self._texts.places(
                self._connection,
                phrase,
                self._query.bucket,
                self._first,
                self._end,
                self._scan,
                newest_first=self._newest_first,
            )
            self.parameters[self._conditions.phrases[phrase]] = found
            if len(found) == self._scan:
                self._cut_at(found[-1])
        self._set_bounds()

    def _cut_at(self, place: int) -> None:
        if self._newest_first:
            self._first = place
        else:
            self._end = place + 1
        self._cut = True
        self._set_bounds()

    async def _bound_by_scan(self) -> None:
        count, last = await self._extent(":scan")
        if count == self._scan:
            self._cut_at(last)

    def _set_bounds(self) -> None:
        self.parameters.update(first=self._first, end=self._end)

    async def _thinnest(self, walks: list[Walk]) -> Walk:
        if not walks:
            walks = [Walk((self._arm("newest"),))]
        if len(walks) == 1:
            return walks[0]
        spreads: list[tuple[bool, int, int]] = []
        for at, walk in enumerate(walks):
            count, last = await self._extent(":probe", walk)
            whole = count < PROBE
            spread = self._end - last if self._newest_first else last - self._first
            spreads.append((not whole, count if whole else -spread, at))
        return walks[min(spreads)[2]]

    async def _extent(self, limit: str, walk: Walk | None = None) -> tuple[int, int]:
        """How many entries, and the last one's place."""
        last = "min" if self._newest_first else "max"
        entries = (walk or self._walk).entries(self._order)
        ((count, place),) = await fetch(
            self._connection,
            f"SELECT count(*), coalesce({last}(w_place), 0) FROM ({entries} LIMIT {limit}) w",
            self.parameters,
        )
        return count, place

    def _walks(self, terms: tuple[Term, ...]) -> Iterator[Walk]:
        query = self._query
        if query.host is not None:
            terms = (Text("host", (query.host,)), *terms)
        if query.method is not None:
            terms = (Text("method", (query.method,)), *terms)
        if query.status_class is not None:
            yield Walk((self._arm("status", query.status_class),))
        if query.error or query.error_slug is not None:
            yield Walk((self._arm("error"),))
        for term in terms:
            if (arms := self._arms(term)) is not None:
                yield Walk(tuple(arms))

    def _listed(self, phrase: Words) -> Walk:
        name = self._conditions.phrases[phrase]
        places = f"SELECT value AS w_place FROM unnest(:{name}) l (value)"
        return Walk((Arm(f"{places} WHERE value >= :first AND value < :end"),))

    def _arms(self, term: Term) -> list[Arm] | None:
        """Selects of places that together have every call that the term wants; None when that takes the whole
        table."""
        match term:
            case Text("host" | "method" | "template" as field, (whole,)):
                return [self._arm(field, stored(whole))]
            case StatusClass(hundreds):
                return [self._arm("status", hundreds)]
            case Compared("status", "", status):
                return [self._arm("status", status // 100)]
            case Is("error") | Text("error", _):
                return [self._arm("error")]
            case Is("starred" | "shared" as what):
                return [self._arm(what)]
            case Text("tag", (tag,)):
                entries = f"""SELECT place AS w_place FROM {self._generations.tag} WHERE bucket = :bucket
                    AND left(tag, 200) = left({self._conditions.bind(stored(tag))}, 200)
                    AND place >= :first AND place < :end"""
                return [Arm(entries)]
            case AnyOf(terms):
                found: list[Arm] = []
                for each in terms:
                    arms = self._arms(each)
                    if arms is None:
                        return None
                    found += arms
                return found
            case AllOf(terms):
                return next((arms for each in terms if (arms := self._arms(each)) is not None), None)
        return None

    def _arm(self, index: str, value: str | int | None = None) -> Arm:
        self._set_bounds()
        calls = "bucket = :bucket AND place >= :first AND place < :end AND deleted_us IS NULL"
        if index in _INDEXED:
            bound = "" if value is None else self._conditions.bind(value)
            calls += f" AND {_INDEXED[index].format(value=bound)}"
        return Arm(f"SELECT place AS w_place FROM {self._generations.call} WHERE {calls}", calls)


def _terms(query: CallQuery) -> Iterator[Term]:
    """What every call that is found must be, beyond the plain filters."""
    if isinstance(query.where, AllOf):
        yield from query.where.terms
    elif query.where is not None:
        yield query.where


def _plain(query: CallQuery, conditions: Conditions) -> list[str]:
    """The plain filters."""
    bind = conditions.bind
    found = ["deleted_us IS NULL"]
    add = found.append
    if query.method is not None:
        add(conditions.method(query.method))
    if query.host is not None:
        add(conditions.text("host", (query.host,)))
    if query.path is not None:
        add(conditions.text("path", (query.path, "")))
    if query.status_class is not None:
        add(conditions.of(StatusClass(query.status_class)))
    if query.status is not None:
        add(f"status = {bind(query.status)}")
    if query.error_slug is not None:
        add(conditions.text("error", (query.error_slug,)))
    elif query.error is not None:
        add(f"error IS {'NOT ' if query.error else ''}NULL")
    if query.since_us is not None:
        add(f"started_us >= {bind(query.since_us)}")
    if query.before_us is not None:
        add(f"started_us < {bind(query.before_us)}")
    return found


async def _first_since(connection: Connection, partition: int, oldest_us: int) -> int:
    """A place of the partition below which every record is older; less than a segment behind the first
    such."""
    base = first_place(partition)
    segments: int = await connection.fetchval(_SEGMENTS_BEFORE, partition, base, oldest_us)
    return base + 1 + segments * chain.SEGMENT
