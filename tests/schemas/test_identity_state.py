"""What identity's facts come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bus.message import Fact
from schemas.identity import (
    FACTS,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    BucketGuarded,
    BucketRekeyed,
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    PasswordSet,
    PersonInvited,
    SessionClosed,
    SessionOpened,
    TeamCreated,
    TeamDeleted,
    TeamJoined,
    TeamRenamed,
    TokenCreated,
    TokenRenamed,
    TokenRevoked,
    TokenRotated,
)
from schemas.identity.state import BucketState, PersonState, State, TeamState, TokenState, evolve
from tests.schemas.test_facts import EXAMPLES

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "7xzcnsgbwox2"
BUCKET = BucketCreated(KEY, "shop", "default")
TOKEN = TokenCreated("t1", "laptop", "default", "d1", ("calls:read",))
TEAM = TeamCreated("shop", "The shop")
INVITED = PersonInvited("p1", "ann@example.com", "shop", "i1", START + timedelta(days=7))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def folded(*facts: Fact, state: State | None = None) -> State:
    """Each a second after the one before."""
    for second, fact in enumerate(facts):
        state = evolve(state, fact, at(second))
    assert state is not None
    return state


def bucket(*facts: Fact) -> BucketState:
    found = folded(BUCKET, *facts).bucket
    assert found is not None
    return found


def token(*facts: Fact) -> TokenState:
    found = folded(TOKEN, *facts).token
    assert found is not None
    return found


def team(*facts: Fact) -> TeamState:
    found = folded(TEAM, *facts).team
    assert found is not None
    return found


def person(*facts: Fact) -> PersonState:
    found = folded(INVITED, *facts).person
    assert found is not None
    return found


def test_a_bucket_is_called_by_its_key_at_first_and_each_change_is_a_version() -> None:
    assert (bucket().bucket.address, bucket().bucket.version) == (KEY, 1)
    changed = bucket(BucketChanged(KEY, "tea", notes="x"), BucketGuarded(KEY, "g1")).bucket
    assert (changed.name, changed.notes, changed.version, changed.team) == ("tea", "x", 3, "default")
    assert changed.created_at == START


def test_a_rekeyed_bucket_is_called_by_both_for_a_while() -> None:
    state = bucket(BucketRekeyed(KEY, "second", at(60)))
    assert state.addresses(at(59)) == ("second", KEY)
    assert state.addresses(at(60)) == ("second",)
    again = bucket(BucketRekeyed(KEY, "second", at(60)), BucketRekeyed(KEY, "third", at(90)))
    assert again.addresses(at(2)) == ("third", KEY, "second")
    assert again.addresses(at(60)) == ("third", "second"), "what ends by itself ends then"
    assert again.addresses(at(90)) == ("third",)
    ended = bucket(BucketRekeyed(KEY, "second", at(60)), BucketRekeyed(KEY, "third", at(2)))
    assert ended.addresses(at(2)) == ("third",), "ended together with the one before"


def test_a_bucket_never_forgets_an_address() -> None:
    state = bucket(*(BucketRekeyed(KEY, f"address-{n}", at(n)) for n in range(5)))
    assert [each.address for each in state.bucket.former_addresses] == [
        KEY, "address-0", "address-1", "address-2", "address-3",
    ]  # fmt: skip


def test_a_guard_is_set_replaced_and_taken_away() -> None:
    assert (bucket().guard_sha256, bucket().bucket.guarded) == ("", False)
    guarded = bucket(BucketGuarded(KEY, "g1"), BucketGuarded(KEY, "g2"))
    assert (guarded.guard_sha256, guarded.bucket.guarded) == ("g2", True)
    free = bucket(BucketGuarded(KEY, "g1"), BucketGuarded(KEY, ""))
    assert (free.guard_sha256, free.bucket.guarded) == ("", False)


def test_a_deleted_bucket_stays_known_and_is_not_living() -> None:
    state = folded(BUCKET, BucketDeleted(KEY))
    assert state.living_bucket is None
    assert state.bucket is not None
    assert state.bucket.deleted


def test_a_rotated_token_has_both_secrets_for_a_while() -> None:
    state = token(TokenRotated("t1", "d2", at(60)))
    assert state.digests(at(59)) == ("d2", "d1")
    assert state.digests(at(60)) == ("d2",)
    ended = token(TokenRotated("t1", "d2", at(60)), TokenRotated("t1", "d3", at(2)))
    assert ended.digests(at(2)) == ("d3",), "ended together with the one before"
    pruned = token(TokenRotated("t1", "d2", at(1)), TokenRotated("t1", "d3", at(60)))
    assert [each.sha256 for each in pruned.former] == ["d2"]


def test_a_token_is_renamed_and_revoked() -> None:
    state = token(TokenRenamed("t1", "desktop"), TokenRevoked("t1"))
    assert (state.name, state.revoked) == ("desktop", True)


def test_members_come_change_and_go() -> None:
    added = team(MemberAdded("shop", "p1", "ann@example.com", "owner"), TeamRenamed("shop", "Tea"))
    assert added.name == "Tea"
    assert {person: (each.email, each.role) for person, each in added.members.items()} == {
        "p1": ("ann@example.com", "owner")
    }
    changed = team(
        MemberAdded("shop", "p1", "ann@example.com", "owner"), MemberChanged("shop", "p1", "viewer")
    )
    assert changed.members["p1"].role == "viewer"
    assert (
        team(MemberAdded("shop", "p1", "a@example.com", "owner"), MemberRemoved("shop", "p1")).members == {}
    )
    assert folded(TEAM, TeamDeleted("shop")).living_team is None


def test_a_password_uses_up_the_invitation_and_ends_the_other_sessions() -> None:
    assert [each.team for each in person().invitations] == ["shop"]
    opened = [SessionOpened("p1", f"s{n}", f"d{n}", "shop", at(3600)) for n in range(3)]
    state = person(*opened, PasswordSet("p1", "sealed", "s1", team="shop"))
    assert (state.invitations, state.hash, state.joined) == ((), "sealed", ("shop",))
    assert [each.id for each in state.sessions] == ["s1"]


def test_a_password_that_one_team_gave_out_leads_into_that_team_only() -> None:
    joined = (PasswordSet("p1", "sealed", "", team="shop"), TeamJoined("p1", "club"))
    assert person(*joined, PasswordSet("p1", "own", "s1")).joined == ("shop", "club")
    assert person(*joined, PasswordSet("p1", "given", "", team="club")).joined == ("club",)
    assert person(*joined, PasswordSet("p1", "given", "", team="club", resets=True)).joined == (
        "shop",
        "club",
    )


def test_sessions_that_have_ended_are_forgotten_at_the_next_decision() -> None:
    state = person(
        SessionOpened("p1", "s1", "d1", "shop", at(2)),
        SessionOpened("p1", "s2", "d2", "shop", at(3600)),
        SessionOpened("p1", "s3", "d3", "shop", at(3600)),
        SessionClosed("p1", "s3"),
    )
    assert [each.id for each in state.sessions] == ["s2"]


@pytest.mark.parametrize("first", [BUCKET, TOKEN, TEAM, INVITED], ids=lambda first: str(first.TYPE))
def test_facts_that_do_not_fit_change_nothing(first: Fact) -> None:
    kind = first.TYPE.split(".")[1]
    mine = ("team", "member") if kind == "team" else (kind,)
    state = folded(first)
    for fact in EXAMPLES:
        if type(fact) in FACTS and fact.TYPE.split(".")[1] not in mine:
            assert evolve(state, fact, START) == state, fact.TYPE
    created = next(fact for fact in EXAMPLES if type(fact) is type(first))
    if not isinstance(first, PersonInvited):  # an invitation may come again
        assert evolve(state, created, START) == state, "what is there is not made anew"


def test_without_a_beginning_there_is_nothing() -> None:
    beginnings = (BucketCreated, TokenCreated, TeamCreated, PersonInvited)
    for fact in EXAMPLES:
        if type(fact) in FACTS and not isinstance(fact, beginnings):
            assert evolve(None, fact, START) is None
