"""A token that is limited to buckets: it changes nothing that reaches further, whatever its scopes."""

from __future__ import annotations

from typing import Any

import pytest

from bus.message import Ask
from schemas.identity import (
    CreateToken,
    DeleteTeam,
    GetTeam,
    GetToken,
    InviteMember,
    ListMembers,
    PutBucket,
    PutMember,
    PutTeam,
    RemoveMember,
    RenameTeam,
    RenameToken,
    RevokeToken,
    RotateToken,
)
from schemas.operation import ROLE_SCOPES
from tests.services.identity.place import Place

KEY = "7xzcnsgbwox2"
OWNER = tuple(sorted(ROLE_SCOPES["owner"]))
LIMITED: dict[str, Any] = {"team": "shop", "actor": "t-1", "allowed_buckets": (KEY,)}
WITH_SCOPES: dict[str, Any] = {**LIMITED, "actor_scopes": OWNER}


async def a_team(place: Place) -> None:
    await place.bus.ask(PutTeam("c0", "shop", "The shop"))
    for email in ("ann@example.com", "bob@example.com"):
        await place.bus.ask(PutMember(email, "shop", email, "owner"))
    await place.bus.ask(PutBucket("c1", "orders", KEY, team="shop"))


@pytest.mark.parametrize(
    "ask",
    [
        DeleteTeam("d", "shop", **WITH_SCOPES),
        RenameTeam("d", "shop", "mine", **LIMITED),
        PutTeam("d", "other", "mine", "t-1", (KEY,)),
        PutMember("d", "shop", "ann@example.com", "viewer", **WITH_SCOPES),
        RemoveMember("d", "shop", "ann@example.com", **WITH_SCOPES),
        InviteMember("d", "shop", "ann@example.com", **WITH_SCOPES),
    ],
    ids=lambda ask: type(ask).__name__,
)
async def test_it_changes_neither_team_nor_members(place: Place, ask: Ask[Any]) -> None:
    async with place.identity():
        await a_team(place)
        assert await place.refused(ask) == "scope-forbidden"
        assert (await place.bus.ask(GetTeam("shop"))).version == 3
        assert len((await place.bus.ask(ListMembers("shop"))).members) == 2


async def test_it_touches_only_tokens_as_limited_as_itself(place: Place) -> None:
    async with place.identity():
        await a_team(place)
        wide = await place.bus.ask(CreateToken("wide", "wide", ("calls:read",), team="shop"))
        own = await place.bus.ask(CreateToken("own", "own", ("calls:read",), team="shop", buckets=(KEY,)))
        asks: tuple[Ask[Any], ...] = (
            RevokeToken("r", wide.id, **LIMITED),
            RenameToken("r", wide.id, "x", **LIMITED),
            RotateToken("r", wide.id, **WITH_SCOPES),
            CreateToken("r", "x", ("calls:read",), **WITH_SCOPES),
        )
        for ask in asks:
            assert await place.refused(ask) == "scope-forbidden"
        assert (await place.bus.ask(GetToken(wide.id, "shop"))).name == "wide"
        assert (await place.bus.ask(RenameToken("n", own.id, "mine", **LIMITED))).name == "mine"
        await place.bus.ask(RevokeToken("r", own.id, **LIMITED))
        assert await place.refused(GetToken(own.id, "shop")) == "token-unknown"
