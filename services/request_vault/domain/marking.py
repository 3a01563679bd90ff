"""What a decision about a call changes in its row. Pure. Engines apply it in the transaction that records the
decision, and again when they build the model anew."""

from __future__ import annotations

import msgspec

from bus.errors import Malformed
from bus.event import Event
from schemas.request_vault import (
    CATEGORY,
    CallAnnotated,
    CallDeleted,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
)
from services.calls.words import words
from services.request_vault.domain.recording import to_us

_PREFIX = f"{CATEGORY}.call."


class RowChange(msgspec.Struct, frozen=True):
    """columns: the new values of these, by their names in CallRow, and `note_words`. tags: the new ones,
    whole; None: as they were."""

    bucket: str
    id: str
    columns: dict[str, str | int | None]
    tags: tuple[str, ...] | None = None


def change_of(event: Event, category: str | None) -> RowChange | None:
    """What a decision of this category changes; None: nothing. Raises Malformed or UnknownType when it cannot
    be read."""
    if category != CATEGORY or not event.type.startswith(_PREFIX):
        return None
    match event.type:
        case CallStarred.TYPE:
            starred = event.read(CallStarred)
            return RowChange(starred.bucket, starred.id, {"starred": 1})
        case CallUnstarred.TYPE:
            unstarred = event.read(CallUnstarred)
            return RowChange(unstarred.bucket, unstarred.id, {"starred": 0})
        case CallAnnotated.TYPE:
            said = event.read(CallAnnotated)
            tags = tuple(sorted(set(said.tags)))
            return RowChange(
                said.bucket,
                said.id,
                {
                    "note": said.note,
                    "note_words": spaced(words(said.note)),
                    "tags": msgspec.json.encode(tags).decode(),
                },
                tags,
            )
        case CallShared.TYPE:
            shared = event.read(CallShared)
            if shared.expires_at is not None and shared.expires_at.tzinfo is None:
                raise Malformed(f"event {event.id[:80]!r}: expires_at has no zone")
            until_us = None if shared.expires_at is None else to_us(shared.expires_at)
            return RowChange(shared.bucket, shared.id, {"share": shared.share, "share_until_us": until_us})
        case CallUnshared.TYPE:
            unshared = event.read(CallUnshared)
            return RowChange(unshared.bucket, unshared.id, {"share": None, "share_until_us": None})
        case CallDeleted.TYPE:
            deleted = event.read(CallDeleted)
            return RowChange(deleted.bucket, deleted.id, {"deleted_us": to_us(event.time)})
        case CallRestored.TYPE:
            restored = event.read(CallRestored)
            return RowChange(restored.bucket, restored.id, {"deleted_us": None})
    return None


def spaced(of: list[str] | tuple[str, ...]) -> str:
    """Words so that a phrase of them is found by its text: with a blank before and behind each."""
    return f" {' '.join(of)} " if of else ""
