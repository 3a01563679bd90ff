"""What is decided about a call: given its marks, when somebody wants something, then a fact, nothing, or
no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.errors import Refused
from bus.message import Fact
from schemas.request_vault import (
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
from services.request_vault.domain.marks import Mark, Told, decide, evolve
from tests.services.request_vault.samples import event_of

B = "7xzcnsgbwox2"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
PLAIN = CallMarks("c", B)
STARRED = replace(PLAIN, starred=True)
NOTED = replace(PLAIN, note="look", tags=("a", "b"))
SHARED = replace(PLAIN, share="first")
DELETED = replace(PLAIN, deleted=True)
OF = ("c", B)


def annotate(**changes: object) -> AnnotateCall:
    return AnnotateCall("cmd", B, "c", **changes, actor="t")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("marks", "mark", "fact"),
    [
        (PLAIN, StarCall("cmd", B, "c", "t"), CallStarred(*OF, "t")),
        (STARRED, StarCall("cmd", B, "c"), None),
        (STARRED, UnstarCall("cmd", B, "c", "t"), CallUnstarred(*OF, "t")),
        (PLAIN, UnstarCall("cmd", B, "c"), None),
        (PLAIN, annotate(note=" look ", tags=("b", "a")), CallAnnotated(*OF, "look", ("a", "b"), "t")),
        (NOTED, annotate(note="look", tags=("a", "b")), None),
        (NOTED, annotate(add_tags=("c",), remove_tags=("a",)), CallAnnotated(*OF, "look", ("b", "c"), "t")),
        (NOTED, annotate(note=""), CallAnnotated(*OF, "", ("a", "b"), "t")),
        (NOTED, annotate(tags=()), CallAnnotated(*OF, "look", (), "t")),
        (PLAIN, annotate(note="two\nlines"), CallAnnotated(*OF, "two\nlines", (), "t")),
        (PLAIN, ShareCall("cmd", B, "c"), CallShared(*OF, "fresh")),
        (PLAIN, ShareCall("cmd", B, "c", LATER), CallShared(*OF, "fresh", LATER)),
        (SHARED, ShareCall("cmd", B, "c", LATER), CallShared(*OF, "first", LATER)),
        (SHARED, ShareCall("cmd", B, "c"), None),
        (SHARED, UnshareCall("cmd", B, "c"), CallUnshared(*OF)),
        (PLAIN, UnshareCall("cmd", B, "c"), None),
        (PLAIN, DeleteCall("cmd", B, "c"), CallDeleted(*OF)),
        (DELETED, DeleteCall("cmd", B, "c"), None),
        (DELETED, RestoreCall("cmd", B, "c"), CallRestored(*OF)),
        (PLAIN, RestoreCall("cmd", B, "c"), None),
    ],
)
def test_what_is_wanted_becomes_a_fact_once(marks: CallMarks, mark: Mark, fact: Fact | None) -> None:
    assert decide(marks, mark, share="fresh", now=NOW) == fact
    if fact is not None:
        after = evolve(marks, fact)
        assert after != marks
        assert decide(after, mark, share="another", now=NOW) is None


@pytest.mark.parametrize(
    ("marks", "mark", "reason", "said"),
    [
        (DELETED, StarCall("cmd", B, "c"), "call-deleted", "restore it first"),
        (DELETED, ShareCall("cmd", B, "c"), "call-deleted", "restore it first"),
        (PLAIN, ShareCall("cmd", B, "c", NOW), "mark-invalid", "expires_at: 2026-01-01.* has passed"),
        (PLAIN, ShareCall("cmd", B, "c", LATER.replace(tzinfo=None)), "mark-invalid", "names no zone"),
        (PLAIN, annotate(note="x" * 4001), "mark-invalid", "note: 4001 characters; the limit is 4000"),
        (PLAIN, annotate(note="a\x00b"), "mark-invalid", "note: it holds a control character"),
        (PLAIN, annotate(tags=("two words",)), "mark-invalid", "tags: 'two words' is no tag"),
        (PLAIN, annotate(add_tags=("",)), "mark-invalid", "add_tags: '' is no tag"),
        (PLAIN, annotate(add_tags=("x" * 65,)), "mark-invalid", "is no tag: 1 to 64 characters"),
        (PLAIN, annotate(tags=tuple(f"t{n}" for n in range(33))), "mark-invalid", "tags: 33 tags; a call"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(marks: CallMarks, mark: Mark, reason: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        decide(marks, mark, share="fresh", now=NOW)
    assert refused.value.reason == reason


MARKS = st.sampled_from(
    [
        StarCall("cmd", B, "c"), UnstarCall("cmd", B, "c"), annotate(note="n"), annotate(add_tags=("x",)),
        annotate(remove_tags=("x",)), ShareCall("cmd", B, "c"), ShareCall("cmd", B, "c", LATER),
        UnshareCall("cmd", B, "c"), DeleteCall("cmd", B, "c"), RestoreCall("cmd", B, "c"),
    ]
)  # fmt: skip


@given(st.lists(MARKS, max_size=12))
def test_whatever_was_decided_is_found_again_by_its_command(marks: list[Mark]) -> None:
    told = Told("c", B)
    made: list[tuple[str, Mark, CallMarks]] = []
    for number, mark in enumerate(marks):
        try:
            fact = decide(told.marks, mark, share=f"s{number}", now=NOW)
        except Refused:
            continue
        if fact is not None:
            told.add(event_of(fact, f"e{number}", key=B, subject="c"))
            made.append((f"e{number}", mark, told.marks))
    assert told.repeated("another", StarCall("cmd", B, "c")) is None
    for event_id, mark, after in made:
        assert told.repeated(event_id, mark) == after


def test_a_commands_id_for_another_command_is_refused() -> None:
    told = Told("c", B)
    told.add(event_of(CallStarred("c", B), "e1", key=B, subject="c"))
    told.add(event_of(CallAnnotated("c", B, "one"), "e2", key=B, subject="c"))
    for event_id, mark in (
        ("e1", UnstarCall("cmd", B, "c")),
        ("e1", StarCall("cmd", B, "c", "somebody else")),
        ("e2", AnnotateCall("cmd", B, "c", note="two")),
    ):
        with pytest.raises(Refused, match="another command") as refused:
            told.repeated(event_id, mark)
        assert refused.value.reason == "command-conflict"


def test_a_call_of_another_bucket_with_the_same_id_has_its_own_marks() -> None:
    told = Told("c", B)
    told.add(event_of(CallStarred("c", "anotherbuckt"), "e1", key="anotherbuckt", subject="c"))
    assert told.marks == PLAIN
