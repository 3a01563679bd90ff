"""Teams and members: who may do what to whom, and that repeated commands do nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

from bus.message import Ask
from schemas.identity import (
    DeleteTeam,
    GetBucket,
    GetTeam,
    InviteMember,
    ListMembers,
    ListTeams,
    MemberAdded,
    MemberChanged,
    PutBucket,
    PutMember,
    PutTeam,
    RemoveMember,
    RenameTeam,
)
from schemas.operation import ROLE_SCOPES
from tests.services.identity.place import Place

OWNER = tuple(sorted(ROLE_SCOPES["owner"]))
EDITOR = tuple(sorted(ROLE_SCOPES["editor"]))


async def test_a_team_is_put_over_and_over(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutTeam("up", "default", "Default team"))
        for _ in range(3):  # what `up` does at every start
            assert await place.bus.ask(PutTeam("up", "default", "Default team")) == made
        assert await place.bus.ask(GetTeam("default", "default")) == made
        assert len(place.log.records) == 1
        renamed = await place.bus.ask(RenameTeam("c1", "default", "The tea shop", "default"))
        assert (renamed.name, renamed.version) == ("The tea shop", 2)
        assert (await place.bus.ask(PutTeam("up", "default", "Default team"))).name == "Default team"
        assert (await place.bus.ask(GetTeam("default"))).name == "The tea shop", "the repeat changed nothing"
        assert await place.refused(PutTeam("up", "default", "Another")) == "command-conflict"
        assert (await place.bus.ask(PutTeam("c2", "default", "Another"))).name == "Another"


async def test_what_another_instance_changed_is_changed_back(place: Place) -> None:
    """An instance that has not heard of a change takes its opposite for done already."""
    async with place.identity():
        await place.bus.ask(PutTeam("c", "shop", "The shop"))
        await place.bus.ask(PutMember("m", "shop", "ann@example.com", "viewer"))
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        place.log.record(MemberChanged("shop", person, "owner"), "identity.team-shop")
        place.log.record(MemberAdded("shop", "p-2", "bob@example.com", "owner"), "identity.team-shop")
        await place.bus.ask(PutMember("down", "shop", "ann@example.com", "viewer"))
        roles = {member.email: member.role for member in (await place.bus.ask(ListMembers("shop"))).members}
        assert roles == {"ann@example.com": "viewer", "bob@example.com": "owner"}


async def test_the_teams_are_listed_by_page_to_whom_they_concern(place: Place) -> None:
    async with place.identity():
        for number in range(3):
            await place.bus.ask(PutTeam(f"c{number}", f"t{number}", "n"))
            await place.bus.clock.advance(1)
        first = await place.bus.ask(ListTeams(limit=2))
        rest = await place.bus.ask(ListTeams(limit=2, cursor=first.next_cursor or ""))
        assert [team.id for team in first.teams + rest.teams] == ["t0", "t1", "t2"]
        assert rest.next_cursor is None
        mine = await place.bus.ask(ListTeams("t1", OWNER))
        assert [team.id for team in mine.teams] == ["t1"]
        operator = ListTeams("t1", (*OWNER, "installation"), cursor=first.next_cursor or "")
        assert [team.id for team in (await place.bus.ask(operator)).teams] == ["t2"]
        foreign = ListTeams("t1", OWNER, cursor=first.next_cursor or "")
        assert await place.refused(foreign) == "cursor-invalid"


@pytest.mark.parametrize("id", ["", "Ä", "a b", "UPPER", "-a", "x" * 64, "../etc", "a.b", "a\0"])
async def test_ids_that_are_none_are_refused(place: Place, id: str) -> None:
    async with place.identity():
        assert await place.refused(PutTeam("c", id, "n")) == "team-invalid"
        assert await place.refused(GetTeam(id)) == "team-unknown"
        assert await place.refused(ListMembers(id)) == "team-unknown"
        assert place.log.records == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00"])
async def test_names_that_are_none_are_refused(place: Place, name: str) -> None:
    async with place.identity():
        assert await place.refused(PutTeam("c", "shop", name)) == "team-invalid"
        await place.bus.ask(PutTeam("c1", "shop", "n"))
        assert await place.refused(RenameTeam("c2", "shop", name, "shop")) == "team-invalid"


async def test_another_teams_things_are_as_if_they_never_were(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c1", "shop", "n"))
        await place.bus.ask(PutTeam("c2", "rivals", "n"))
        await place.bus.ask(PutMember("c3", "shop", "ann@example.com", "owner"))
        for team in ("shop", "nothing"):
            foreign: list[Ask[Any]] = [
                GetTeam(team, "rivals", OWNER),
                RenameTeam("c", team, "mine", "rivals"),
                DeleteTeam("c", team, "rivals", "t", OWNER),
                ListMembers(team, "rivals", OWNER),
                PutMember("c", team, "eve@example.com", "viewer", "rivals", "t", OWNER),
                RemoveMember("c", team, "ann@example.com", "rivals", "t", OWNER),
                InviteMember("c", team, "ann@example.com", "rivals", "t", OWNER),
            ]
            for ask in foreign:
                assert await place.refused(ask) == "team-unknown", ask
        operator = (*OWNER, "installation")
        assert (await place.bus.ask(GetTeam("shop", "rivals", operator))).members == 1


async def test_a_deleted_team_is_gone_with_its_buckets_and_its_id(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutTeam("c1", "shop", "n"))
        await place.bus.ask(PutBucket("c2", "b", key="7xzcnsgbwox2", team="shop"))
        for _ in range(2):
            assert await place.bus.ask(DeleteTeam("c3", "shop", "shop", "t", OWNER)) == made
        assert await place.refused(DeleteTeam("c4", "shop")) == "team-unknown"
        assert await place.refused(GetTeam("shop")) == "team-unknown"
        assert await place.refused(PutTeam("c5", "shop", "again")) == "team-invalid"
        assert await place.refused(PutMember("c6", "shop", "a@example.com", "viewer")) == "team-unknown"
        assert (await place.bus.ask(ListTeams())).teams == ()
        await place.log.tell()
        await place.bus.settled()
        assert await place.refused(GetBucket("7xzcnsgbwox2")) == "bucket-unknown"


async def test_a_member_is_put_given_another_role_and_removed(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c1", "shop", "n"))
        put = PutMember("c2", "shop", "  Ann@EXAMPLE.com ", "owner", "shop", "t-1", OWNER)
        ann = await place.bus.ask(put)
        assert (ann.email, ann.role, ann.has_password) == ("Ann@example.com", "owner", False)
        assert await place.bus.ask(put) == ann
        bob = await place.bus.ask(PutMember("c3", "shop", "bob@example.com", "viewer"))
        changed = await place.bus.ask(PutMember("c4", "shop", "BOB@example.com", "editor"))
        assert (changed.person, changed.email, changed.role) == (bob.person, "bob@example.com", "editor")
        assert await place.bus.ask(PutMember("c3", "shop", "bob@example.com", "viewer")) == bob
        assert (await place.bus.ask(ListMembers("shop"))).members == (ann, changed)
        before = len(place.log.records)
        for _ in range(2):
            gone = await place.bus.ask(RemoveMember("c5", "shop", "bob@Example.com", "shop", "t", OWNER))
            assert gone == changed
        assert len(place.log.records) == before + 1
        assert await place.refused(RemoveMember("c6", "shop", "bob@example.com")) == "member-unknown"
        assert await place.refused(InviteMember("c7", "shop", "bob@example.com")) == "member-unknown"


async def test_a_team_keeps_an_owner(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c1", "shop", "n"))
        await place.bus.ask(PutMember("c2", "shop", "ann@example.com", "owner"))
        await place.bus.ask(PutMember("c3", "shop", "bob@example.com", "editor"))
        assert await place.refused(RemoveMember("c4", "shop", "ann@example.com")) == "member-conflict"
        assert await place.refused(PutMember("c5", "shop", "ann@example.com", "editor")) == "member-conflict"
        await place.bus.ask(PutMember("c6", "shop", "bob@example.com", "owner"))
        await place.bus.ask(RemoveMember("c7", "shop", "ann@example.com"))
        assert await place.refused(RemoveMember("c8", "shop", "bob@example.com")) == "member-conflict"


async def test_nobody_gives_more_than_they_have(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c1", "shop", "n"))
        await place.bus.ask(PutMember("c2", "shop", "ann@example.com", "owner"))
        some = (*EDITOR, "members:write")
        asks: list[Ask[Any]] = [
            PutMember("c", "shop", "eve@example.com", "owner", "shop", "t", some),
            InviteMember("c", "shop", "ann@example.com", "shop", "t", some),
            PutMember("c", "shop", "eve@example.com", "viewer", "shop", "t", OWNER, ("7xzcnsgbwox2",)),
            InviteMember("c", "shop", "ann@example.com", "shop", "t", OWNER, ("7xzcnsgbwox2",)),
        ]
        for ask in asks:
            assert await place.refused(ask) == "scope-forbidden", ask
        await place.bus.ask(PutMember("c3", "shop", "eve@example.com", "editor", "shop", "t", some))


@pytest.mark.parametrize(
    "email",
    [
        "", "ann", "@", "ann@", "@example.com", "a b@example.com", "ann@exa mple.com", "ann@@example.com",
        "ann@-a.com", "ann@a..com", ".ann@example.com", "a..b@example.com", "ann@example.com.",
        "<ann@example.com>", "ann@example.com\0", "ann\n@example.com", "a" * 65 + "@example.com",
        "a@" + "b." * 130 + "com", '"a b"@example.com', "ann@[127.0.0.1]",
    ],
)  # fmt: skip
async def test_what_is_no_address_is_no_member(place: Place, email: str) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c1", "shop", "n"))
        assert await place.refused(PutMember("c", "shop", email, "viewer")) == "member-invalid"
        assert await place.refused(RemoveMember("c", "shop", email)) == "member-unknown"
        assert await place.refused(InviteMember("c", "shop", email)) == "member-unknown"
