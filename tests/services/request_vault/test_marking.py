"""What a decision about a call changes in its row."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bus import codec
from bus.errors import Malformed, Refused
from bus.message import Fact
from schemas.request_vault import (
    CallAnnotated,
    CallDeleted,
    CallsErased,
    CallShared,
    CallStarred,
    CallUnshared,
    StreamWrite,
)
from services.request_vault.domain.marking import RowChange, change_of, spaced
from services.request_vault.domain.recording import to_us
from services.request_vault.store.writes import Appending
from tests.services.request_vault.samples import BUCKET, START, event_of

END = START + timedelta(days=1)


@pytest.mark.parametrize(
    ("fact", "columns", "tags"),
    [
        (CallStarred("c", BUCKET), {"starred": 1}, None),
        (
            CallAnnotated("c", BUCKET, "Out of STOCK", ("b", "a", "b")),
            {"note": "Out of STOCK", "note_words": " out of stock ", "tags": '["a","b"]'},
            ("a", "b"),
        ),
        (CallAnnotated("c", BUCKET), {"note": "", "note_words": "", "tags": "[]"}, ()),
        (CallShared("c", BUCKET, "s", END), {"share": "s", "share_until_us": to_us(END)}, None),
        (CallUnshared("c", BUCKET), {"share": None, "share_until_us": None}, None),
        (CallDeleted("c", BUCKET), {"deleted_us": to_us(START)}, None),
    ],
)
def test_a_decision_changes_these_columns(
    fact: Fact, columns: dict[str, object], tags: tuple[str, ...] | None
) -> None:
    assert change_of(event_of(fact, "e"), "vault") == RowChange(BUCKET, "c", columns, tags)  # type: ignore[arg-type]


def test_other_decisions_change_nothing() -> None:
    assert change_of(event_of(CallStarred("c", BUCKET), "e"), "shop") is None
    assert change_of(event_of(CallStarred("c", BUCKET), "e"), None) is None
    assert change_of(event_of(CallsErased("x", BUCKET, ("c",)), "e"), "vault") is None


def test_a_mark_that_cannot_be_read_is_malformed() -> None:
    event = event_of(CallShared("c", BUCKET, "s", END.replace(tzinfo=None)), "e")
    with pytest.raises(Malformed, match="expires_at has no zone"):
        change_of(event, "vault")
    with pytest.raises(Refused, match="expires_at has no zone") as refused:
        Appending([StreamWrite("vault.call-c", 0, (codec.encode_event(event),))])
    assert refused.value.reason == "event-malformed"


def test_words_have_a_blank_on_either_side() -> None:
    assert (spaced(["a", "b"]), spaced([])) == (" a b ", "")
