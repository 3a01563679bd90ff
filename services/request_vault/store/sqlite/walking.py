"""Which entries of which index a search looks at, in which order, and how many.

A walk goes over one index from the newest call downwards (a follower's: upwards). Which index: each that a
term of the query allows is probed for its first PROBE entries, and the one that spreads them thinnest is
walked, because it holds the fewest calls between one that is wanted and the next. A term under OR allows a
walk when all its alternatives do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from bus.errors import Refused
from services.calls.query import AllOf, AnyOf, Compared, Is, StatusClass, Term, Text, Words
from services.request_vault.domain.calls import CLOCK_LEAD_US, CallQuery, after_prefix
from services.request_vault.store.sqlite.filtering import Conditions
from services.request_vault.store.sqlite.models import Generations
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import json_list
from services.request_vault.store.sqlite.texts import Texts

PROBE = 1000

# What the index holds, in its own words.
_LITERALLY = {"starred": "starred = 1", "noted": "note <> ''"}
_FILTERED = ", status AS w_status, method AS w_method, host AS w_host"

# The first place in a partition whose record is not older than :oldest_us, by halving: times of recording
# never go back.
_FIRST_SINCE = """
WITH RECURSIVE halved(low, high) AS (
    VALUES (:low, :high)
    UNION ALL
    SELECT iif({late}, low, (low + high) / 2 + 1), iif({late}, (low + high) / 2, high)
    FROM halved WHERE low < high
)
SELECT low FROM halved WHERE low >= high
""".replace(
    "{late}",
    """coalesce(
        (SELECT recorded_us FROM record WHERE place >= (low + high) / 2 ORDER BY place LIMIT 1) >= :oldest_us,
        1
    )""",
)


class Walk(msgspec.Struct, frozen=True):
    """entries: a SELECT of places (w_place) in the order of the search, without its limit. cheap: conditions
    over what else of the index it selects, true of every call that is wanted."""

    entries: str
    cheap: str = ""


class Walking:
    """A search made ready: `source` is `FROM ...` over the calls (as c) that are wanted, in order, among the
    `scan` entries of the index that come first."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        generations: Generations,
        query: CallQuery,
        partition: int,
        *,
        before: int | None,
        after: int | None,
        scan: int,
        texts: Texts | None,
    ) -> None:
        base = partition << PARTITION_SHIFT
        self._connection = connection
        self._generations = generations
        self._query = query
        self._texts = texts
        self._newest_first = after is None
        self._first = base + 1 + (after or 0)
        self._end = base + (NUMBER_MASK if before is None else before)
        self._scan = scan
        self._cut = False
        self.parameters: dict[str, Any] = {"bucket": query.bucket, "scan": scan, "probe": PROBE}
        self._conditions = Conditions(self.parameters)
        if query.since_us is not None:
            since = _first_since(connection, partition, query.since_us - CLOCK_LEAD_US)
            self._first = max(self._first, since)
        terms = tuple(_terms(query))
        phrases = [term for term in terms if isinstance(term, Words) and term.scope != "note"]
        wanted = [self._conditions.of(term) for term in terms if term not in phrases]
        nested = self._conditions.phrases
        if phrases or nested:
            self._stop_at_reach(partition, [*phrases, *nested])
        self._set_bounds()
        walks = list(self._walks(terms))
        if phrases:
            self._look_up("words", phrases)
            # The list is in the order of the search already.
            listed = "SELECT value AS w_place FROM json_each(:words) WHERE value >= :first AND value < :end"
            walks.append(Walk(listed))
        self._walk = self._thinnest(walks)
        if phrases and self._walk is not walks[-1]:
            wanted.append("w_place IN (SELECT value FROM json_each(:words))")
        if nested:
            self._bound_by_scan()
            for phrase, name in nested.items():
                self._look_up(name, [phrase])
        self.source = f"""FROM ({self._walk.entries} LIMIT :scan) w
            CROSS JOIN {generations.call} c ON c.place = w.w_place
            WHERE {" AND ".join([*_plain(query, self.parameters), *wanted])} {self._walk.cheap}"""

    def reached(self) -> int | None:
        """The place up to which (inclusive) the walk has looked, None when that is all there is."""
        count, last = self._extent(":scan")
        if count == self._scan:
            return last
        if self._cut:
            return self._first if self._newest_first else self._end - 1
        return None

    def _stop_at_reach(self, partition: int, phrases: list[Words]) -> None:
        if self._texts is None:
            raise Refused("query-invalid", f"q: {phrases[0]} is not searchable yet")
        self._end = min(self._end, self._texts.reach(partition) + 1)

    def _look_up(self, name: str, phrases: list[Words]) -> None:
        """The places that hold all these phrases, as a parameter. When there are too many, less is looked
        at."""
        assert self._texts is not None
        found = self._texts.places(
            phrases, self._query.bucket, self._first, self._end, self._scan, newest_first=self._newest_first
        )
        self.parameters[name] = json_list(found)
        if len(found) == self._scan:
            self._cut_at(found[-1])

    def _cut_at(self, place: int) -> None:
        if self._newest_first:
            self._first = place
        else:
            self._end = place + 1
        self._cut = True
        self._set_bounds()

    def _bound_by_scan(self) -> None:
        count, last = self._extent(":scan")
        if count == self._scan:
            self._cut_at(last)

    def _set_bounds(self) -> None:
        self.parameters.update(first=self._first, end=self._end)

    def _thinnest(self, walks: list[Walk]) -> Walk:
        if not walks:
            walks = [self._newest()]
        if len(walks) == 1:
            return walks[0]
        spreads: list[tuple[bool, int, int]] = []
        for at, walk in enumerate(walks):
            count, last = self._extent(":probe", walk)
            whole = count < PROBE
            spread = self._end - last if self._newest_first else last - self._first
            spreads.append((not whole, count if whole else -spread, at))
        return walks[min(spreads)[2]]

    def _extent(self, limit: str, walk: Walk | None = None) -> tuple[int, int]:
        """How many entries, and the last one's place."""
        last = "min" if self._newest_first else "max"
        entries = (walk or self._walk).entries
        count, place = self._connection.execute(
            f"SELECT count(*), coalesce({last}(w_place), 0) FROM ({entries} LIMIT {limit})", self.parameters
        ).fetchone()
        return count, place

    def _walks(self, terms: tuple[Term, ...]) -> Iterator[Walk]:
        query = self._query
        for index, column, value in (
            ("status", "status / 100", query.status_class),
            ("host", "host", query.host),
            ("method", "method", query.method),
        ):
            if value is not None:
                yield self._ordered(self._arm(index, column, value, _FILTERED), _filters(query))
        if query.error or query.error_slug is not None:
            yield self._ordered(
                self._arm("error", "error", None, ", error AS w_error"),
                "" if query.error_slug is None else "AND w_error = :error_slug",
            )
        for term in terms:
            arms = self._arms(term)
            if arms is not None:
                yield self._ordered(" UNION ".join(arms))

    def _newest(self) -> Walk:
        cheap = ""
        if self._query.since_us is not None:
            cheap += "AND w_started_us >= :since_us "
        if self._query.before_us is not None:
            cheap += "AND w_started_us < :before_us"
        return self._ordered(self._arm("newest", columns=", started_us AS w_started_us"), cheap)

    def _ordered(self, entries: str, cheap: str = "") -> Walk:
        return Walk(f"{entries} ORDER BY w_place {'DESC' if self._newest_first else 'ASC'}", cheap)

    def _arms(self, term: Term) -> list[str] | None:
        """Selects of places that together have every call that the term wants; None when that takes the whole
        table."""
        match term:
            case Text("host" | "method" as field, (whole,)):
                return [self._arm(field, field, whole)]
            case StatusClass(hundreds):
                return [self._arm("status", "status / 100", hundreds)]
            case Compared("status", "", status):
                return [self._arm("status", "status / 100", status // 100)]
            case Is("error") | Text("error", _):
                return [self._arm("error", "error", None)]
            case Words(scope="note"):
                return [self._arm("noted")]
            case Is("starred"):
                return [self._arm("starred")]
            case Is("shared"):
                return [self._arm("shared", "share", None)]
            case Text("tag", (tag,)):
                return [
                    f"""SELECT place AS w_place FROM {self._generations.tag}
                    WHERE bucket = :bucket AND tag = {self._conditions.bind(tag)}
                    AND place >= :first AND place < :end"""
                ]
            case AnyOf(terms):
                found: list[str] = []
                for each in terms:
                    arms = self._arms(each)
                    if arms is None:
                        return None
                    found += arms
                return found
            case AllOf(terms):
                return next((arms for each in terms if (arms := self._arms(each)) is not None), None)
        return None

    def _arm(
        self, index: str, column: str | None = None, value: str | int | None = None, columns: str = ""
    ) -> str:
        """value None: that the column has one."""
        call = self._generations.call
        condition = ""
        if index in _LITERALLY:
            condition = f"AND {_LITERALLY[index]}"
        elif column is not None:
            condition = f"AND {column} " + (
                "IS NOT NULL" if value is None else f"= {self._conditions.bind(value)}"
            )
        return f"""SELECT place AS w_place{columns} FROM {call} INDEXED BY {call}_{index}
            WHERE bucket = :bucket AND place >= :first AND place < :end AND deleted_us IS NULL {condition}"""


def _filters(query: CallQuery) -> str:
    """Plain filters over what the indices that have a filter of their own select beside it."""
    found = ""
    if query.status_class is not None:
        found += "AND w_status / 100 = :status_class "
    if query.status is not None:
        found += "AND w_status = :status "
    if query.method is not None:
        found += "AND w_method = :method "
    if query.host is not None:
        found += "AND w_host = :host"
    return found


def _terms(query: CallQuery) -> Iterator[Term]:
    """What every call that is found must be, beyond the plain filters."""
    if isinstance(query.where, AllOf):
        yield from query.where.terms
    elif query.where is not None:
        yield query.where


def _plain(query: CallQuery, parameters: dict[str, Any]) -> list[str]:
    """The plain filters as conditions over `parameters`, which are filled in."""
    conditions = ["deleted_us IS NULL"]

    def add(sql: str, **values: object) -> None:
        conditions.append(sql)
        parameters.update(values)

    if query.method is not None:
        add("method = :method", method=query.method)
    if query.host is not None:
        add("host = :host", host=query.host)
    if query.path is not None:
        add("path >= :path", path=query.path)
        if (following := after_prefix(query.path)) is not None:
            add("path < :following", following=following)
    if query.status_class is not None:
        add("status / 100 = :status_class", status_class=query.status_class)
    if query.status is not None:
        add("status = :status", status=query.status)
    if query.error_slug is not None:
        add("error = :error_slug", error_slug=query.error_slug)
    elif query.error is not None:
        add(f"error IS {'NOT ' if query.error else ''}NULL")
    if query.since_us is not None:
        add("started_us >= :since_us", since_us=query.since_us)
    if query.before_us is not None:
        add("started_us < :before_us", before_us=query.before_us)
    return conditions


def _first_since(connection: sqlite3.Connection, partition: int, oldest_us: int) -> int:
    (head,) = connection.execute("SELECT number FROM head WHERE partition = ?", (partition,)).fetchone()
    low = (partition << PARTITION_SHIFT) + 1
    (place,) = connection.execute(
        _FIRST_SINCE, {"low": low, "high": low + head, "oldest_us": oldest_us}
    ).fetchone()
    return int(place)
