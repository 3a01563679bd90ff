"""What a password proved is worth nothing once the person has another one, or works somewhere else too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bus.errors import Unavailable
from schemas.identity import SessionOpened
from schemas.identity.state import InvitationState, PersonState, SessionState, State
from services.identity.domain import people as domain

ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=7)
INVITATION = InvitationState("i1", "shop", ENDS_AT)
PERSON = PersonState("p1", "ann@example.com", "sealed", ("shop",), (INVITATION,))
OPENED = SessionOpened("p1", "s1", "d1", "shop", ENDS_AT)
OVERTAKEN = [
    msgspec.structs.replace(PERSON, hash="another"),
    msgspec.structs.replace(PERSON, joined=("shop", "club")),
]


@pytest.mark.parametrize("now", OVERTAKEN)
@pytest.mark.parametrize("hash", ["", "chosen"])
def test_an_invitation_is_not_accepted_on_what_was(now: PersonState, hash: str) -> None:
    assert domain.decide_accept(State(person=PERSON), PERSON, INVITATION, OPENED, hash)
    with pytest.raises(Unavailable):
        domain.decide_accept(State(person=now), PERSON, INVITATION, OPENED, hash)


def test_neither_a_session_is_opened_nor_a_password_changed_by_a_former_one() -> None:
    now = State(person=msgspec.structs.replace(PERSON, hash="another"))
    assert domain.decide_open(State(person=PERSON), PERSON, OPENED, "") == (OPENED,)
    with pytest.raises(Unavailable):
        domain.decide_open(now, PERSON, OPENED, "")
    signed_in = SessionState("s1", "d1", "shop", ENDS_AT)
    both = [msgspec.structs.replace(each, sessions=(signed_in,)) for each in (PERSON, OVERTAKEN[0])]
    assert domain.decide_change(State(person=both[0]), PERSON, "s1", "chosen")
    with pytest.raises(Unavailable):
        domain.decide_change(State(person=both[1]), PERSON, "s1", "chosen")
