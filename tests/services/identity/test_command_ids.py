"""A command id that was used for one thing does not pass for another on the same stream."""

from __future__ import annotations

from schemas.identity import (
    CreateToken,
    DeleteTeam,
    GetTeam,
    ListMembers,
    PutMember,
    PutTeam,
    RemoveMember,
    RenameTeam,
    RotateToken,
)
from tests.services.identity.place import Place

ANN = "ann@example.com"


async def test_of_a_team(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c", "shop", "The shop"))
        await place.bus.ask(RenameTeam("again", "shop", "Tea"))
        assert await place.refused(DeleteTeam("again", "shop")) == "command-conflict"
        assert await place.refused(RenameTeam("c", "shop", "Coffee")) == "command-conflict"
        assert (await place.bus.ask(GetTeam("shop"))).name == "Tea"


async def test_of_a_member(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c", "shop", "The shop"))
        await place.bus.ask(PutMember("m1", "shop", ANN, "viewer"))
        await place.bus.ask(PutMember("m2", "shop", ANN, "editor"))
        assert await place.refused(RemoveMember("m2", "shop", ANN)) == "command-conflict"
        assert len((await place.bus.ask(ListMembers("shop"))).members) == 1


async def test_of_a_token_that_is_rotated_with_the_id_it_was_made_with(place: Place) -> None:
    """It would answer with the secret that it has, as if that were another one."""
    async with place.identity():
        made = await place.bus.ask(CreateToken("c", "laptop", ("calls:read",)))
        assert await place.refused(RotateToken("c", made.id)) == "command-conflict"
