"""The first team, bucket and token: made once, told again, and made anew when somebody meant their end."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.testing import Harness, harness
from schemas import identity as contract
from schemas.identity import (
    DeleteBucket,
    DeleteTeam,
    GetBucket,
    GetTeam,
    ListTokens,
    RenameTeam,
    RevokeToken,
    RotateToken,
)
from schemas.operation import SCOPES
from services.chassis import config
from services.chassis.access import Access
from services.cli import credentials as stored
from services.cli.credentials import Credentials
from services.cli.settling import TEAM, settle
from tests.services.grounds import a_ground
from tests.services.identity.place import Place

URLS = {"api_url": "http://127.0.0.1:7081", "gateway_url": "http://127.0.0.1:7080"}


class Settling:
    def __init__(self, place: Place, access: Access, folder: Path) -> None:
        self.bus: Harness = place.bus
        self.place = place
        self.access = access
        self.loaded = config.load({}, environment={}, folder=folder, data_dir=folder)

    async def settle(self) -> tuple[Credentials, bool]:
        found = await settle(self.bus, self.loaded, **URLS)
        await self.place.heard()
        assert stored.read(self.loaded.data_dir / stored.FILE_NAME) == found[0]
        return found

    async def works(self, found: Credentials) -> str:
        """The team of a token that may do everything, and reaches the bucket."""
        grant = await self.access.grant(found.token)
        assert grant is not None
        assert grant.scopes == SCOPES
        bucket = await self.access.bucket(found.bucket)
        assert bucket is not None
        assert grant.covers(bucket)
        return grant.team


@asynccontextmanager
async def settling(folder: Path) -> AsyncIterator[Settling]:
    async with harness(subscriptions=contract.SUBSCRIPTIONS) as bus:
        place = Place(bus, folder)
        async with (
            bus.serve(place.log.router(), place.vault()),
            place.identity(),
            Access.open(a_ground(bus.as_source("api"), folder)) as access,
        ):
            yield Settling(place, access, folder)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Settling]:
    async with settling(tmp_path) as made:
        yield made


async def test_they_are_made_once_and_told_again(at: Settling) -> None:
    first, new = await at.settle()
    assert new
    assert await at.works(first) == TEAM
    recorded = len(at.place.log.records)
    assert await at.settle() == (first, False)
    assert len(at.place.log.records) == recorded


async def test_a_team_that_was_renamed_keeps_its_name(at: Settling) -> None:
    first, _ = await at.settle()
    await at.bus.ask(RenameTeam("c", TEAM, "The tea shop"))
    assert await at.settle() == (first, False)
    assert (await at.bus.ask(GetTeam(TEAM))).name == "The tea shop"


async def test_a_token_that_was_revoked_is_not_given_back(at: Settling) -> None:
    first, _ = await at.settle()
    (token,) = (await at.bus.ask(ListTokens())).tokens
    await at.bus.ask(RevokeToken("c", token.id))
    second, new = await at.settle()
    assert new
    assert second.token != first.token
    assert await at.works(second) == TEAM
    assert await at.access.grant(first.token) is None


async def test_a_bucket_that_was_deleted_is_followed_by_another(at: Settling) -> None:
    first, _ = await at.settle()
    await at.bus.ask(DeleteBucket("c", first.bucket))
    second, new = await at.settle()
    assert new
    assert second.bucket != first.bucket
    assert await at.works(second) == TEAM


async def test_a_team_that_was_deleted_is_followed_by_another(at: Settling) -> None:
    first, _ = await at.settle()
    await at.bus.ask(DeleteTeam("c", TEAM))
    await at.place.heard()
    second, new = await at.settle()
    assert new
    team = await at.works(second)
    assert team != TEAM
    assert (await at.bus.ask(GetBucket(second.bucket))).team == team
    assert await at.access.grant(first.token) is None
    assert await at.settle() == (second, False)


async def test_a_token_that_was_rotated_gets_no_twin(at: Settling) -> None:
    first, _ = await at.settle()
    (token,) = (await at.bus.ask(ListTokens())).tokens
    secret = at.place.secret_in(await at.bus.ask(RotateToken("c", token.id)))
    stored.write(at.loaded.data_dir / stored.FILE_NAME, dataclasses.replace(first, token=secret))
    second, new = await at.settle()
    assert (second.token, new) == (secret, False)
    assert len((await at.bus.ask(ListTokens())).tokens) == 1
    assert await at.works(second) == TEAM
