"""People who sign in: invitations, sessions, and what ends them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bus.errors import Refused
from schemas.identity import (
    SESSION_S,
    ChangePassword,
    CloseSession,
    CreateToken,
    GetCaller,
    InviteMember,
    ListMembers,
    PersonInvited,
    PutMember,
    RemoveMember,
)
from services.chassis.access import Access
from services.chassis.access.tokens import digest_of, secret_of
from tests.services.grounds import a_ground
from tests.services.identity.people import ANN, GOOD, OTHER, People
from tests.services.identity.place import Place


@pytest.fixture
def people(place: Place) -> People:
    return People(place)


async def test_from_an_invitation_to_a_session_and_out_again(place: Place, people: People) -> None:
    ground = a_ground(place.bus.as_source("api"), place.data_dir / "api", shared=place.shared)
    async with place.identity(), Access.open(ground) as access:
        await people.team("shop", (ANN, "editor"))
        session = await people.joined("shop")
        assert (session.email, session.team, session.role) == (ANN, "shop", "editor")
        secret = place.secret_in(session)
        assert secret.startswith("tls_")
        granted = await access.grant(secret)
        assert granted is not None
        assert (granted.kind, granted.team, granted.role) == ("session", "shop", "editor")
        caller = await place.bus.ask(GetCaller(granted.actor, granted.id, "shop", ("calls:read",)))
        assert (caller.kind, caller.name, caller.role, caller.scopes) == (
            "session", ANN, "editor", ("calls:read",),
        )  # fmt: skip
        assert (await place.bus.ask(ListMembers("shop"))).members[0].has_password
        again = await place.bus.ask(people.sign_in(GOOD, " ANN@Example.com"))
        assert again.id != session.id
        closed = await place.bus.ask(CloseSession("out", granted.actor, session.id))
        assert (closed.id, closed.secret) == (session.id, None)
        assert await place.bus.ask(CloseSession("out", granted.actor, session.id)) == closed
        assert await people.refused(CloseSession("out2", granted.actor, session.id)) == "session-unknown"
        await place.log.tell()
        await place.bus.settled()
        assert await access.grant(secret) is None
        assert await access.grant(place.secret_in(again)) is not None


async def test_repeated_commands_give_the_same_answer(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        invite = InviteMember("i", "shop", ANN)
        invitation = await place.bus.ask(invite)
        await place.bus.clock.advance(5)
        repeated = await place.bus.ask(invite)
        assert repeated.expires_at == invitation.expires_at
        code = place.secret_in(invitation)
        assert place.secret_in(repeated) == code
        first = await place.bus.ask(people.accept(code, GOOD, "a"))
        await place.bus.clock.advance(5)
        same = await place.bus.ask(people.accept(code, GOOD, "a"))
        assert (same.id, same.expires_at) == (first.id, first.expires_at)
        assert place.secret_in(same) == place.secret_in(first)
        assert await people.refused(people.accept(code, OTHER, "a")) == "invitation-unknown"
        assert await people.refused(people.accept(code, GOOD, "b")) == "invitation-unknown"
        opened = await place.bus.ask(people.sign_in(GOOD, command="s"))
        await place.bus.clock.advance(5)
        same = await place.bus.ask(people.sign_in(GOOD, command="s"))
        assert (same.id, same.expires_at) == (opened.id, opened.expires_at)
        assert place.secret_in(same) == place.secret_in(opened)
        assert await people.refused(people.sign_in(OTHER, command="s")) == "session-unauthorized"
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        change = people.sealed(ChangePassword("p", GOOD, OTHER, person, first.id))
        kept = await place.bus.ask(change)
        assert kept.id == first.id
        assert (await place.bus.ask(change)) == kept
        assert (await place.bus.ask(invite)).expires_at == invitation.expires_at
        assert len(place.log.records) == 7


async def test_who_is_in_several_teams_names_one(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        await people.team("club", (ANN, "viewer"))
        await people.joined("shop")
        assert (await place.bus.ask(people.sign_in(GOOD))).team == "shop", "the club was not joined yet"
        await people.joined("club")
        assert await people.refused(people.sign_in(GOOD)) == "session-invalid"
        opened = await place.bus.ask(people.sign_in(GOOD, team="club"))
        assert (opened.team, opened.role) == ("club", "viewer")


async def test_an_invitation_ends(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"), ("bob@example.com", "owner"))
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        late = secret_of("tli", b"7" * 32)
        now = place.bus.clock.now()
        invited = PersonInvited(person, ANN, "shop", digest_of(late), now + timedelta(seconds=1))
        await place.happens(invited, f"identity.person-{person}")
        await place.bus.clock.advance(1)
        assert await people.refused(people.accept(late, GOOD)) == "invitation-unknown"
        removed = await people.invite("shop")
        await place.bus.ask(RemoveMember("r", "shop", ANN))
        assert await people.refused(people.accept(removed, GOOD)) == "invitation-unknown"
        for code in ("", "x", "tli_" + "0" * 49, late[:-1] + "!", "\0", "é" * 500):
            assert await people.refused(people.accept(code, GOOD)) == "invitation-unknown"


async def test_a_changed_password_ends_the_other_sessions(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        one = await people.joined("shop")
        two = await place.bus.ask(people.sign_in(GOOD))
        pending = await people.invite("shop")
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person

        def change(current: str, password: str, session: str = one.id) -> Any:
            return people.sealed(ChangePassword(people.command(), current, password, person, session))

        assert await people.refused(change(OTHER, GOOD)) == "password-unauthorized"
        assert await people.refused(change(GOOD, "short")) == "password-invalid"
        assert await people.refused(change(GOOD, OTHER, "s-1")) == "session-unknown"
        assert (await place.bus.ask(change(GOOD, OTHER))).id == one.id
        assert await people.refused(CloseSession("c", person, two.id)) == "session-unknown"
        assert await people.refused(people.accept(pending, GOOD)) == "invitation-unknown"
        assert await people.refused(people.sign_in(GOOD)) == "session-unauthorized"


async def test_who_is_removed_and_comes_back_has_no_session_left(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"), ("bob@example.com", "owner"))
        session = await people.joined("shop")
        person = next(m.person for m in (await place.bus.ask(ListMembers("shop"))).members if m.email == ANN)
        await place.bus.ask(RemoveMember("r", "shop", ANN))
        assert await people.refused(people.sign_in(GOOD)) == "session-unauthorized"
        await place.log.tell()
        await place.bus.settled()
        await place.bus.ask(PutMember("back", "shop", ANN, "viewer"))
        assert await people.refused(CloseSession("c", person, session.id)) == "session-unknown"
        assert (await place.bus.ask(people.sign_in(GOOD))).role == "viewer"


async def test_a_removal_that_is_heard_of_late_ends_no_session_of_a_later_membership(
    place: Place, people: People
) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"), ("bob@example.com", "owner"))
        before = await people.joined("shop")
        person = next(m.person for m in (await place.bus.ask(ListMembers("shop"))).members if m.email == ANN)
        await place.bus.ask(RemoveMember("r", "shop", ANN))
        await place.bus.clock.advance(5)
        await place.bus.ask(PutMember("back", "shop", ANN, "viewer"))
        after = await place.bus.ask(people.sign_in(GOOD))
        await place.heard()
        assert await people.refused(CloseSession("c", person, before.id)) == "session-unknown"
        assert (await place.bus.ask(CloseSession("d", person, after.id))).id == after.id


async def test_sessions_end_and_the_oldest_make_room(
    place: Place, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.identity.domain.people.MAX_SESSIONS", 2)
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        first = await people.joined("shop")
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        second = await place.bus.ask(people.sign_in(GOOD))
        assert (second.expires_at - place.bus.clock.now()).total_seconds() == SESSION_S
        third = await place.bus.ask(people.sign_in(GOOD))
        assert await people.refused(CloseSession("c1", person, first.id)) == "session-unknown"
        await place.bus.ask(CloseSession("c2", person, second.id))
        await place.bus.ask(CloseSession("c3", person, third.id))


async def test_at_the_same_time_one_invitation_is_accepted_once(place: Place, people: People) -> None:
    async with place.identity("a"), place.identity("b"):
        await people.team("shop", (ANN, "editor"))
        code = await people.invite("shop")

        async def accept(password: str) -> str:
            try:
                return (await place.bus.ask(people.accept(code, password))).id
            except Refused as refused:
                return refused.reason

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(accept(password)) for password in (GOOD, OTHER)]
        outcomes = [task.result() for task in running]
        assert outcomes.count("invitation-unknown") == 1


async def test_a_caller_learns_who_it_is(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop")
        token = await place.bus.ask(CreateToken("c", "laptop", ("calls:read",), team="shop"))
        caller = await place.bus.ask(GetCaller(token.id, "", "shop", ("calls:read",)))
        assert (caller.kind, caller.id, caller.name, caller.team) == ("token", token.id, "laptop", "shop")
        for ask in (
            GetCaller(),
            GetCaller("t-1"),
            GetCaller("p-1", "s-1"),
            GetCaller(token.id, "", "rivals"),
        ):
            assert await people.refused(ask) == "caller-unknown"
