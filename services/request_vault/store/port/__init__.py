"""The port that every engine of the vault implements, and what it promises. Proved for each by
`tests/conformance/vault`. Who needs one side of it only asks for that: the log, the calls, the read models,
the text index, removal, or the archive.

1. When `record` or `append` returns, what was taken is durable, indexed and readable: it survives the
   death of every process and power loss. If they raise, nothing was taken (`append`: all or none;
   `record`: an event that is refused keeps out nobody else).
2. Identity is (source, id). The same identity with the same content is one event, recorded once; with
   other content it is a conflict. What was recorded before is answered before versions are looked at.
3. Positions are (partition, number): numbers begin at 1 and have no gaps within a partition, in the order
   of commits, so a reader that has seen N never misses one below it. Decisions are in partition 0,
   observations in 1 + hash(key) % P.
4. A stream holds decisions or observations, never both; its versions begin at 1 and have no gaps. `prev`
   chains the decisions of one category.
5. Unavailable means that nothing is wrong with the events: the disk is full or gone, the database does
   not answer. Nothing was taken.
6. What is removed leaves its number, its digest and its identity: numbers and versions of decisions stay
   used, and the log can be proved from its beginning to its end.
"""

from __future__ import annotations

from typing import Protocol

from services.request_vault.store.port.archive import Archive, Loading, StoreStats
from services.request_vault.store.port.calls import Calls, FoundCall, FoundCalls
from services.request_vault.store.port.keeping import Erased, Keeping, Scope, Trimmed
from services.request_vault.store.port.log import Ingested, Log, LogSlice, Selection, Trace
from services.request_vault.store.port.models import Models
from services.request_vault.store.port.texts import CallText, LateText, Texts, TextSource, TextStep

__all__ = [
    "Archive",
    "CallText",
    "Calls",
    "Erased",
    "FACET_CALLS",
    "FoundCall",
    "FoundCalls",
    "Ingested",
    "Keeping",
    "LateText",
    "Loading",
    "Log",
    "LogSlice",
    "Models",
    "PAGE_BYTES",
    "SCAN_CALLS",
    "SCAN_RECORDS",
    "Scope",
    "Selection",
    "Store",
    "StoreStats",
    "TextSource",
    "TextStep",
    "Texts",
    "Trace",
    "Trimmed",
]

PAGE_BYTES = 512 * 1024
"""A page of records or calls ends before this many bytes (it holds at least one), so that it fits one
frame of the bus."""

SCAN_CALLS = 20_000
"""How many entries of an index one page of a search looks at, at most."""

FACET_CALLS = 50_000
"""How many calls facets are counted over, at most."""

SCAN_RECORDS = 50_000
"""How many records of a partition one filtered page looks at, at most. A page may be empty though there
is more."""


class Store(Log, Calls, Models, Texts, Keeping, Archive, Loading, Protocol):
    """All of it."""
