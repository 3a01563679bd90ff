"""The vault's settings."""

from __future__ import annotations

import msgspec


class Config(msgspec.Struct, frozen=True):
    """url: the engine; `sqlite:` keeps the log in the vault's data folder, `sqlite:PATH` in that file.
    partitions: in how many the log keeps observations; fixed when it is made (a log that exists keeps its
    own). readers: connections, and threads, for reading. batch_events: about how many events one transaction
    of the ingest takes. tell_interval_ms: the least time between two rounds of `vault.calls.recorded`
    signals."""

    url: str = "sqlite:"
    partitions: int = 1
    readers: int = 3
    batch_events: int = 1000
    tell_interval_ms: int = 20
