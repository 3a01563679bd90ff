"""How much the vault holds, and how far behind the log its read models and indices are."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Ask


class ModelState(msgspec.Struct, frozen=True):
    """A read model. version: of what it holds. done, of: records that a rebuild has folded, of how many;
    equal when none is going on."""

    name: str
    version: int
    state: Literal["ready", "rebuilding"]
    done: int
    of: int


class BucketUsage(msgspec.Struct, frozen=True):
    """Observations of one event key. bytes: of their payloads in the log, without bodies kept apart."""

    bucket: str
    records: int
    calls: int
    bytes: int


class RetentionRound(msgspec.Struct, frozen=True):
    """One round of retention, as far as it came. records, calls, bytes: what went out of the log; bodies,
    body_bytes: of those kept apart. took_ms: the whole round, None while it goes on; longest_step_ms: of its
    steps, with what they waited for."""

    began_at: datetime
    took_ms: float | None = None
    records: int = 0
    calls: int = 0
    bytes: int = 0
    bodies: int = 0
    body_bytes: int = 0
    steps: int = 0
    longest_step_ms: float = 0.0


class RebuildModel(Ask[ModelState], frozen=True):
    """Build a read model anew beside the old one, which answers until the new one takes its place.
    Refused: model-unknown."""

    TYPE = "vault.model.rebuild"

    name: str


class VaultStats(msgspec.Struct, frozen=True):
    """retention: the round that goes on in the instance that answers, else its last one. erasures: how many
    go on there."""

    events: int
    calls: int
    bodies: int
    size_bytes: int
    heads: dict[str, int]  # category -> newest number
    partitions: tuple[int, ...]  # newest number by partition
    published_to: int  # decisions up to this number of partition 0 are on the bus
    engine: str = ""
    models: tuple[ModelState, ...] = ()
    text_behind: int = 0  # newest records, calls or not, that the text index has not passed yet
    usage: tuple[BucketUsage, ...] = ()
    retention: RetentionRound | None = None
    erasures: int = 0


class GetVaultStats(Ask[VaultStats], frozen=True):
    TYPE = "vault.stats"
