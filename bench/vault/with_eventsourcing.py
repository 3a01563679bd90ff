"""The `eventsourcing` library, appending as many events of as many bytes in batches of one transaction each.

Runs in its own environment (`bench/peers/eventsourcing.lock`): `python bench/vault/with_eventsourcing.py
recorder|application URL COUNT EVENT_BYTES BATCH`, URL as the vault takes it (`sqlite:PATH`,
`postgresql://...`). Prints `{"calls", "seconds", "durability"}`.

recorder: stored events that are ready made, straight into the library's application recorder: its rows, and
nothing else of it. application: as its documentation shows, one new aggregate a call, a batch of them saved
at once. Both with the library's own settings: on SQLite it switches to WAL and leaves `synchronous` as SQLite
has it (FULL), which is what the vault uses.
"""

from __future__ import annotations

import json
import string
import sys
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent

SEED = 20260101


class Call(Aggregate):
    @event("Captured")
    def __init__(self, content: str) -> None:
        self.content = content


def settings(url: str) -> dict[str, str]:
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": rest}
    parts = urlsplit(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.lstrip("/"),
        "POSTGRES_HOST": parts.hostname or "127.0.0.1",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": parts.password or "",
    }


def durability(application: Application[Any], url: str) -> str:
    """What the library's own connections are set to."""
    with application.recorder.datastore.transaction(commit=False) as cursor:

        def told(statement: str) -> Any:
            cursor.execute(statement)
            row = cursor.fetchone()
            return next(iter(row.values())) if isinstance(row, dict) else row[0]

        if _is_sqlite(url):
            return f"journal_mode={told('PRAGMA journal_mode')} synchronous={told('PRAGMA synchronous')}"
        return f"synchronous_commit={told('SHOW synchronous_commit')}"


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def batches(count: int, size: int) -> Iterator[int]:
    while count > 0:
        yield min(size, count)
        count -= size


def stored(count: int, event_bytes: int, random: Random) -> Sequence[StoredEvent]:
    topic = "traffic:Call.Captured"
    return [
        StoredEvent(UUID(int=random.getrandbits(128)), 1, topic, random.randbytes(event_bytes))
        for _ in range(count)
    ]


def main(kind: str, url: str, count: int, event_bytes: int, batch: int) -> None:
    random = Random(SEED)
    application: Application[Any] = Application(env=settings(url))
    letters = "".join(random.choices(string.ascii_letters, k=event_bytes + 10_000))
    spent = 0.0
    for size in batches(count, batch):
        if kind == "recorder":
            events = stored(size, event_bytes, random)
            began = time.monotonic()
            application.recorder.insert_events(events)
        else:
            starts = [random.randrange(10_000) for _ in range(size)]
            texts = [letters[start : start + event_bytes] for start in starts]
            began = time.monotonic()
            application.save(*[Call(content=text) for text in texts])
        spent += time.monotonic() - began
    words = {"calls": count, "seconds": spent, "durability": durability(application, url)}
    application.close()
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
