"""The vault's settings."""

from __future__ import annotations

from typing import Annotated

import msgspec

Limit = Annotated[int, msgspec.Meta(ge=1)] | None


class Config(msgspec.Struct, frozen=True):
    """url: the engine; `sqlite:` keeps the log in the vault's data folder, `sqlite:PATH` in that file,
    `postgresql://USER:PASSWORD@HOST/DATABASE?search_path=SCHEMA` in tables there, for many instances.
    partitions: in how many the log keeps observations; fixed when it is made (a log that exists keeps its
    own). readers: connections, and threads, for reading. batch_events: about how many events one transaction
    of the ingest takes. tell_interval_ms: the least time between two rounds of `vault.calls.recorded`
    signals. compress_bodies: keep a body compressed when that takes off a tenth; what is kept already stays
    as it is. retention_interval_s: how long after one round of retention the next begins. retention_age_s:
    what was recorded longer ago goes, whatever its bucket. retention_calls, retention_bytes: at most so many
    calls, and bytes of events without bodies that are kept apart, in the whole vault; the oldest go, other
    observations as old as they too. Starred and shared calls and all decisions stay; a bucket may have limits
    of its own."""

    url: str = "sqlite:"
    partitions: int = 1
    readers: int = 3
    batch_events: int = 1000
    tell_interval_ms: int = 20
    compress_bodies: bool = True
    retention_interval_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    retention_age_s: Limit = None
    retention_calls: Limit = None
    retention_bytes: Limit = None
