"""What people say of a call: pure functions from its marks and what is wanted to a fact, and from facts to
marks.

`decide` answers the fact to append to the call's stream, None when nothing is left to do, so that a repeated
command is done once. Raises Refused with the contract's reasons.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from bus.errors import Refused
from bus.event import Event
from bus.message import Fact
from schemas.request_vault import (
    CATEGORY,
    MARK_FACTS,
    AnnotateCall,
    CallAnnotated,
    CallDeleted,
    CallMarks,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
    DeleteCall,
    RestoreCall,
    ShareCall,
    StarCall,
    UnshareCall,
    UnstarCall,
)
from schemas.request_vault.marks import MAX_NOTE_CHARS, MAX_TAG_CHARS, MAX_TAGS

Mark = StarCall | UnstarCall | AnnotateCall | ShareCall | UnshareCall | DeleteCall | RestoreCall

FACTS_BY_TYPE = {fact.TYPE: fact for fact in MARK_FACTS}

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)  # an end that has passed had not, then

_TAG = re.compile(r"[^\s\x00-\x1f\x7f\"(),\ud800-\udfff]+")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


def mark_stream(call_id: str) -> str:
    return f"{CATEGORY}.call-{call_id}"


def decide(marks: CallMarks, mark: Mark, *, share: str, now: datetime) -> Fact | None:
    """share: a fresh unguessable name, used when the call gets one."""
    of = {"id": marks.id, "bucket": marks.bucket, "by": mark.actor}
    if marks.deleted and not isinstance(mark, (DeleteCall, RestoreCall)):
        raise Refused("call-deleted", f"call {marks.id[:80]} was deleted; restore it first")
    match mark:
        case StarCall():
            return None if marks.starred else CallStarred(**of)
        case UnstarCall():
            return CallUnstarred(**of) if marks.starred else None
        case AnnotateCall():
            note, tags = _annotated(marks, mark)
            changed = (note, tags) != (marks.note, marks.tags)
            return CallAnnotated(note=note, tags=tags, **of) if changed else None
        case ShareCall(expires_at=until):
            if until is not None and (until.tzinfo is None or until <= now):
                raise _invalid("expires_at", f"{until.isoformat()} has passed, or names no zone")
            if marks.share is not None and marks.share_expires_at == until:
                return None
            return CallShared(share=marks.share or share, expires_at=until, **of)
        case UnshareCall():
            return None if marks.share is None else CallUnshared(**of)
        case DeleteCall():
            return None if marks.deleted else CallDeleted(**of)
        case RestoreCall():
            return CallRestored(**of) if marks.deleted else None


def evolve(marks: CallMarks, fact: Fact) -> CallMarks:
    change = msgspec.structs.replace
    match fact:
        case CallStarred():
            return change(marks, starred=True)
        case CallUnstarred():
            return change(marks, starred=False)
        case CallAnnotated(note=note, tags=tags):
            return change(marks, note=note, tags=tags)
        case CallShared(share=share, expires_at=until):
            return change(marks, share=share, share_expires_at=until)
        case CallUnshared():
            return change(marks, share=None, share_expires_at=None)
        case CallDeleted():
            return change(marks, deleted=True)
        case CallRestored():
            return change(marks, deleted=False)
    return marks


class Told:
    """A call's marks, folded from its stream, and what each of its events changed."""

    def __init__(self, id: str, bucket: str) -> None:
        self.marks = CallMarks(id, bucket)
        self._changes: dict[str, tuple[CallMarks, Fact]] = {}

    def add(self, event: Event) -> None:
        """The next one of the stream, which another bucket's call of the same id may share."""
        kind = FACTS_BY_TYPE.get(event.type)
        if kind is not None and event.key == self.marks.bucket:
            fact = event.read(kind)
            self._changes[event.id] = (self.marks, fact)
            self.marks = evolve(self.marks, fact)

    def repeated(self, event_id: str, mark: Mark) -> CallMarks | None:
        """The marks that this command made when it was carried out; None when it was not. Raises
        Refused("command-conflict") when its id was another command's."""
        if (change := self._changes.get(event_id)) is None:
            return None
        before, fact = change
        share = fact.share if isinstance(fact, CallShared) else ""
        try:
            again = decide(before, mark, share=share, now=_LONG_AGO)
        except Refused:
            again = None
        if again != fact:
            raise conflict()
        return evolve(before, fact)


def conflict() -> Refused:
    return Refused("command-conflict", "this command_id was used for another command; use a new one")


def _annotated(marks: CallMarks, ask: AnnotateCall) -> tuple[str, tuple[str, ...]]:
    note = marks.note if ask.note is None else ask.note.strip()
    if len(note) > MAX_NOTE_CHARS:
        raise _invalid("note", f"{len(note)} characters; the limit is {MAX_NOTE_CHARS}")
    if _UNWRITABLE.search(note) is not None:
        raise _invalid("note", "it holds a control character")
    for name, tags in (("tags", ask.tags or ()), ("add_tags", ask.add_tags)):
        for tag in tags:
            if len(tag) > MAX_TAG_CHARS or _TAG.fullmatch(tag) is None:
                raise _invalid(
                    name,
                    f"{tag[:80]!r} is no tag: 1 to {MAX_TAG_CHARS} characters without blanks, commas, quotes "
                    "or parentheses",
                )
    wanted = set(marks.tags if ask.tags is None else ask.tags) | set(ask.add_tags)
    wanted -= set(ask.remove_tags)
    if len(wanted) > MAX_TAGS:
        raise _invalid("tags", f"{len(wanted)} tags; a call has at most {MAX_TAGS}")
    return note, tuple(sorted(wanted))


def _invalid(name: str, why: str) -> Refused:
    return Refused("mark-invalid", f"{name}: {why}")
