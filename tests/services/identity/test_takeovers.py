"""Nobody gets at the account that somebody has in another team."""

from __future__ import annotations

import pytest

from schemas.identity import (
    CloseSession,
    InviteMember,
    ListMembers,
    MemberChanged,
    MemberRemoved,
    PutMember,
    RemoveMember,
)
from schemas.operation import ROLE_SCOPES
from tests.services.identity.people import ANN, GOOD, OPERATOR, OTHER, OWNER, People
from tests.services.identity.place import Place


@pytest.fixture
def people(place: Place) -> People:
    return People(place)


async def test_a_password_that_one_team_gave_out_opens_no_other(place: Place, people: People) -> None:
    """An owner of `rivals` names somebody a member, takes the code and sets a password. When the shop makes
    that person an owner later, that password leads nowhere."""
    async with place.identity():
        await people.team("rivals", (ANN, "viewer"))
        await people.joined("rivals", password=OTHER)
        await people.team("shop", (ANN, "owner"))
        assert await people.refused(people.sign_in(OTHER, team="shop")) == "session-unauthorized"
        assert (await place.bus.ask(people.sign_in(OTHER))).team == "rivals"
        assert not (await place.bus.ask(ListMembers("shop"))).members[0].has_password


async def test_an_owner_cannot_take_over_who_works_in_another_team(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "owner"))
        early = await people.invite("shop")
        await people.team("rivals", (ANN, "viewer"))
        pending = await people.invite("rivals")
        await place.bus.ask(people.accept(early, GOOD))
        # What rivals hold sets no password any more, however old the code is.
        for code in (pending, await people.invite("rivals")):
            assert await people.refused(people.accept(code, OTHER)) in (
                "password-unauthorized",
                "invitation-unknown",
            )
        await people.joined("rivals")
        for team in ("rivals", "shop"):
            invite = InviteMember("i", team, ANN, team, "t-1", OWNER)
            assert await people.refused(invite) == "member-conflict"
        assert (await place.bus.ask(people.sign_in(GOOD, team="shop"))).role == "owner"


async def test_who_has_left_the_other_team_does_not_come_back_by_this_ones_password(
    place: Place, people: People
) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"), ("bob@example.com", "owner"))
        await people.team("rivals", (ANN, "viewer"))
        await people.joined("shop")
        await people.joined("rivals")
        await place.bus.ask(RemoveMember("r", "shop", ANN))
        invite = InviteMember("i", "rivals", ANN, "rivals", "t-1", OWNER)
        assert await people.refused(invite) == "member-conflict", "the shop may take Ann back"
        code = await people.invite("rivals", scopes=OPERATOR)
        await place.bus.ask(people.accept(code, OTHER))
        assert (await place.bus.ask(people.sign_in(OTHER))).team == "rivals"


async def test_a_code_for_a_viewer_makes_no_owner(place: Place, people: People) -> None:
    """Who may invite viewers only keeps a code until the viewer is made more."""
    async with place.identity("a"), place.identity("b"):
        await people.team("shop", (ANN, "viewer"), ("bob@example.com", "owner"))
        viewers = (*sorted(ROLE_SCOPES["viewer"]), "members:write")
        code = await people.invite("shop", scopes=viewers)
        await place.bus.ask(PutMember("up", "shop", ANN, "owner"))
        assert await people.refused(people.accept(code, OTHER)) == "invitation-unknown"
        await place.bus.ask(PutMember("down", "shop", ANN, "viewer"))
        assert (await place.bus.ask(people.accept(code, GOOD))).role == "viewer"


async def test_what_was_decided_elsewhere_a_moment_ago_counts(place: Place, people: People) -> None:
    """Though this instance has not heard of it."""
    async with place.identity():
        await people.team("shop", (ANN, "viewer"), ("bob@example.com", "owner"))
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        code = await people.invite("shop")
        place.log.record(MemberChanged("shop", person, "owner"), "identity.team-shop")
        assert await people.refused(people.accept(code, GOOD)) == "invitation-unknown"
        await people.joined("shop")
        recorded = len(place.log.records)
        place.log.record(MemberRemoved("shop", person), "identity.team-shop")
        assert await people.refused(people.sign_in(GOOD)) == "session-unauthorized"
        assert len(place.log.records) == recorded + 1, "no session was opened first"


async def test_an_operator_resets_a_password_everywhere(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        await people.team("club", (ANN, "viewer"))
        session = await people.joined("shop")
        await people.joined("club")
        code = await people.invite("shop", scopes=OPERATOR)
        await place.bus.ask(people.accept(code, OTHER))
        assert await people.refused(people.sign_in(GOOD, team="club")) == "session-unauthorized"
        assert (await place.bus.ask(people.sign_in(OTHER, team="club"))).team == "club"
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        assert await people.refused(CloseSession("c", person, session.id)) == "session-unknown"


async def test_a_forgotten_password_is_set_anew_by_the_only_team(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        await people.joined("shop")
        old = await people.invite("shop")
        await people.joined("shop", password=OTHER)
        assert await people.refused(people.accept(old, GOOD)) == "invitation-unknown", (
            "a later one replaced it"
        )
        assert await people.refused(people.sign_in(GOOD)) == "session-unauthorized"
        await place.bus.ask(people.sign_in(OTHER))
