"""Which shards there are, and which of them are to be built anew. Pure but for reading the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from services.request_vault.store.sqlite.places import PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import fetch, select
from services.request_vault.store.sqlite.text.schema import WORDS_VERSION

SHARD_CALLS = 16_384
"""Large enough that a word is looked up in few of them, small enough that one is built anew in about two
seconds."""

# A pair of shards that is built anew as one leaves room, so that it is not done again for every call.
_MERGED_CALLS = SHARD_CALLS * 3 // 4


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """state: open (calls are added), full, merged (by FTS5, into one run), building (in the place of those
    between `first` and `until`)."""

    number: int
    state: Literal["open", "full", "merged", "building"]
    first: int
    last: int
    until: int
    calls: int
    erased: int
    version: int

    @property
    def partition(self) -> int:
        return self.first >> PARTITION_SHIFT


class State(msgspec.Struct, frozen=True):
    """As of a commit. shards: those that answer, by partition, in order of place. reach: by partition, the
    place up to which calls are indexed. buckets: the number that each one's tokens carry."""

    shards: Mapping[int, tuple[Shard, ...]] = {}
    building: Shard | None = None
    reach: Mapping[int, int] = {}
    buckets: Mapping[str, int] = {}

    def all(self) -> Iterator[Shard]:
        for shards in self.shards.values():
            yield from shards

    def open_in(self, partition: int) -> Shard | None:
        return next((shard for shard in self.shards.get(partition, ()) if shard.state == "open"), None)

    def replaced_by(self, building: Shard) -> tuple[Shard, ...]:
        return tuple(
            shard
            for shard in self.shards.get(building.partition, ())
            if building.first <= shard.first and shard.last <= building.until
        )


class Range(msgspec.Struct, frozen=True):
    """Shards to build anew as one."""

    first: int
    until: int


_decoder = msgspec.json.Decoder(list[Shard])
_SHARDS = select(
    ", ".join(Shard.__struct_fields__),
    f"(SELECT {', '.join(Shard.__struct_fields__)} FROM shard ORDER BY first)",
)


def load(connection: sqlite3.Connection) -> State:
    shards: dict[int, tuple[Shard, ...]] = {}
    building = None
    for shard in fetch(connection, _SHARDS, (), _decoder):
        if shard.state == "building":
            building = shard
        else:
            shards[shard.partition] = (*shards.get(shard.partition, ()), shard)
    return State(
        shards,
        building,
        dict(connection.execute("SELECT partition, place FROM progress").fetchall()),
        dict(connection.execute("SELECT name, number FROM bucket").fetchall()),
    )


def outdated(state: State) -> Range | None:
    """The oldest shard that has other tokens than this version's."""
    for shard in state.all():
        if shard.version != WORDS_VERSION:
            return Range(shard.first, shard.last)
    return None


def thin(state: State, gone: Mapping[int, int]) -> Range | None:
    """Shards that are mostly calls that are gone, or small beside a small neighbour. gone: how many calls of
    a shard are, by number, where that was counted."""

    def live(shard: Shard) -> int:
        return shard.calls - gone.get(shard.number, 0)

    for shard in state.all():
        if shard.calls and 2 * live(shard) <= shard.calls:
            return Range(shard.first, shard.last)
    for shards in state.shards.values():
        for shard, following in pairwise(shard for shard in shards if shard.state != "open"):
            if live(shard) + live(following) <= _MERGED_CALLS:
                return Range(shard.first, following.last)
    return None


def covering(state: State, shards: Sequence[int]) -> Range | None:
    """The first of these shards."""
    for shard in state.all():
        if shard.number in shards:
            return Range(shard.first, shard.last)
    return None
