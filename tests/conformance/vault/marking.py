"""Decisions about calls, as the suite appends them."""

from __future__ import annotations

from itertools import count

from bus import codec
from bus.message import Fact
from schemas.request_vault import (
    ANY_VERSION,
    Appended,
    CallAnnotated,
    CallDeleted,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
)
from services.request_vault.store.port import Store
from tests.services.request_vault.samples import BUCKET, event_of

_numbers = count()

Mark = CallStarred | CallUnstarred | CallAnnotated | CallShared | CallUnshared | CallDeleted | CallRestored


async def mark(store: Store, *facts: Mark, at_s: float = 0.0) -> Appended:
    """Append these decisions about one call."""
    return await store.append(
        f"vault.call-{facts[0].id}",
        ANY_VERSION,
        [encoded(fact, f"mark-{next(_numbers)}", fact.bucket, fact.id, at_s) for fact in facts],
    )


def encoded(fact: Fact, id: str, bucket: str = BUCKET, subject: str = "c", at_s: float = 0.0) -> bytes:
    return codec.encode_event(
        event_of(fact, id, key=bucket, subject=subject, source="request_vault", at_s=at_s)
    )
