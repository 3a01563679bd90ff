"""The audit: who changed what in a team, newest first, and nothing of another team's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import codec
from bus.message import Ask, Fact
from bus.testing import harness
from schemas import identity as contract
from schemas import request_vault as vault_contract
from schemas.identity import (
    AcceptInvitation,
    AuditEntry,
    CloseSession,
    CreateToken,
    DeleteBucket,
    InviteMember,
    PutBucket,
    PutMember,
    PutTeam,
    ReadAudit,
    RevokeToken,
    SetBucketAuth,
)
from schemas.operation import sealed_in
from schemas.request_vault import Append, CallsExpired, CallShared, CallStarred, EraseBucket
from services.request_vault import service as vault
from services.request_vault.config import Config as VaultConfig
from tests.services.grounds import a_ground
from tests.services.identity.place import Place
from tests.services.request_vault.samples import event_of

KEY = "7xzcnsgbwox2"
THEIRS = "8xzcnsgbwox2"


async def read(place: Place, ask: ReadAudit) -> list[AuditEntry]:
    """Every page."""
    entries: list[AuditEntry] = []
    while True:
        page = await place.bus.ask(ask)
        assert len(page.entries) <= ask.limit
        entries += page.entries
        if page.next_cursor is None:
            return entries
        ask = msgspec.structs.replace(ask, cursor=page.next_cursor)


def types(entries: list[AuditEntry]) -> list[str]:
    return [entry.type for entry in entries]


async def two_teams(place: Place) -> str:
    """What each of them does, in turn. The id of the shop's token."""
    ask = place.bus.ask
    await ask(PutTeam("c1", "shop", "The shop"))
    await ask(PutTeam("c2", "rivals", "Rivals"))
    token = await ask(CreateToken("c3", "laptop", ("calls:read",), team="shop"))
    foreign = await ask(CreateToken("c4", "theirs", ("calls:read",), team="rivals"))
    await ask(PutBucket("c5", "orders", key=KEY, team="shop", actor=token.id))
    await ask(PutBucket("c6", "secret plans", key=THEIRS, team="rivals", actor=foreign.id))
    await ask(PutMember("c7", "shop", "ann@example.com", "editor", actor=token.id))
    await ask(PutMember("c8", "rivals", "ann@example.com", "owner", actor=foreign.id))
    await ask(SetBucketAuth("c9", KEY, team="shop", actor=token.id))
    return token.id


async def test_a_teams_decisions_newest_first_with_names(place: Place) -> None:
    async with place.identity():
        token = await two_teams(place)
        decided: tuple[tuple[Fact, str], ...] = (
            (CallStarred("call-1", KEY, token), "vault.call-call-1"),
            (CallStarred("call-2", THEIRS, token), "vault.call-call-2"),
            (CallsExpired("_", "age", 5, 5, (1, 1), (1, 5)), "vault.retention-_"),
            (CallShared("call-1", KEY, "share-name", None, token), "vault.call-call-1"),
        )
        for number, (fact, stream) in enumerate(decided):
            key = getattr(fact, "bucket", "_")
            place.log._record(
                stream, event_of(fact, f"e-{number}", key=key, subject=getattr(fact, "id", key))
            )
        entries = await read(place, ReadAudit("shop", "shop"))
        assert [(entry.type.partition(".")[2], entry.about, entry.by_name) for entry in entries] == [
            ("call.shared", "call-1", "laptop"),
            ("call.starred", "call-1", "laptop"),
            ("bucket.guarded", KEY, "laptop"),
            ("member.added", "ann@example.com", "laptop"),
            ("bucket.created", KEY, "laptop"),
            ("token.created", token, ""),
            ("team.created", "shop", ""),
        ]
        assert {entry.bucket for entry in entries} == {KEY, "_"}
        assert entries[2].data == {"key": KEY, "by": token}
        assert "sha256" not in entries[5].data
        assert entries[5].data["scopes"] == ["calls:read"]
        assert entries[0].data.get("share") is None
        assert entries[4].data["name"] == "orders"


@pytest.mark.parametrize("limit", [1, 2, 500])
async def test_pages_stay_right_while_more_happens(place: Place, limit: int) -> None:
    async with place.identity():
        await two_teams(place)
        whole = await read(place, ReadAudit("shop"))
        ask = ReadAudit("shop", limit=limit)
        first = await place.bus.ask(ask)
        await place.bus.ask(PutBucket("late", "late", team="shop"))
        rest: list[AuditEntry] = []
        if first.next_cursor is not None:
            rest = await read(place, msgspec.structs.replace(ask, cursor=first.next_cursor))
        assert [*first.entries, *rest] == whole


async def test_filters(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutTeam("c1", "shop", "The shop"))
        await place.bus.clock.advance(10)
        token = await place.bus.ask(CreateToken("c2", "laptop", ("calls:read",), team="shop"))
        at = place.bus.clock.now()
        await place.bus.clock.advance(10)
        bucket = await place.bus.ask(PutBucket("c3", "b", key=KEY, team="shop", actor=token.id))
        await place.bus.ask(PutBucket("c4", "b2", key=THEIRS, team="shop", actor="t-2"))
        await place.bus.ask(DeleteBucket("c5", bucket.key, actor=token.id))

        async def found(**filters: Any) -> list[str]:
            return [name.partition(".")[2] for name in types(await read(place, ReadAudit("shop", **filters)))]

        assert await found(by=token.id) == ["bucket.deleted", "bucket.created"]
        assert await found(types=("identity.token.*",)) == ["token.created"]
        assert await found(types=("identity.bucket.created", "identity.team.#")) == [
            "bucket.created", "bucket.created", "team.created",
        ]  # fmt: skip
        assert await found(types=("nothing.#",)) == []
        assert await found(since=at) == [
            "bucket.deleted",
            "bucket.created",
            "bucket.created",
            "token.created",
        ]
        assert await found(before=at) == ["team.created"]
        assert await found(since=at, before=at + timedelta(seconds=1)) == ["token.created"]
        assert await found(by="nobody@example.com") == []
        assert await found(allowed_buckets=(KEY,)) == ["bucket.deleted", "bucket.created"]
        assert await found(allowed_buckets=("unknown00001",)) == []


async def test_what_cannot_be_asked_is_refused(place: Place) -> None:
    async with place.identity():
        await two_teams(place)
        cursor = (await place.bus.ask(ReadAudit("shop", limit=1))).next_cursor or ""
        now = place.bus.clock.now()
        refused: list[tuple[Ask[Any], str]] = [
            (ReadAudit("nothing"), "team-unknown"),
            (ReadAudit("shop", "rivals"), "team-unknown"),
            (ReadAudit("no team"), "team-unknown"),
            (ReadAudit("shop", limit=0), "list-invalid"),
            (ReadAudit("shop", limit=501), "list-invalid"),
            (ReadAudit("shop", types=("a",) * 51), "list-invalid"),
            (ReadAudit("shop", since=now.replace(tzinfo=None)), "list-invalid"),
            (ReadAudit("shop", types=("a..b",)), "pattern-invalid"),
            (ReadAudit("shop", cursor="x"), "cursor-invalid"),
            (ReadAudit("shop", cursor="é"), "cursor-invalid"),
            (ReadAudit("rivals", limit=1, cursor=cursor), "cursor-invalid"),
            (ReadAudit("shop", by="t", cursor=cursor), "cursor-invalid"),
            (ReadAudit("shop", types=("identity.#",), cursor=cursor), "cursor-invalid"),
        ]
        for ask, slug in refused:
            assert await place.refused(ask) == slug, ask


async def test_what_people_do_is_told_in_their_teams_only(place: Place) -> None:
    secrets = place.shared.secrets
    async with place.identity():
        await two_teams(place)
        code = place.secret_in(await place.bus.ask(InviteMember("i", "shop", "ann@example.com")))
        plain = {"code": code, "password": "tea shop at dawn"}
        sealed = {
            name: secrets.seal(plain[name].encode(), context)
            for name, context in sealed_in(AcceptInvitation).items()
        }
        await place.bus.ask(AcceptInvitation("a", client_address="192.0.2.7", **sealed))
        entries = await read(place, ReadAudit("shop", types=("identity.person.*",)))
        assert [(entry.type, entry.about, entry.by_name) for entry in entries] == [
            ("identity.person.secured", "ann@example.com", "ann@example.com"),
            ("identity.person.signed_in", "ann@example.com", "ann@example.com"),
            ("identity.person.invited", "ann@example.com", ""),
        ]
        assert "hash" not in entries[0].data
        assert entries[1].data["address"] == "192.0.2.7"
        assert await read(place, ReadAudit("shop", by="ANN@example.com")) == entries[:2]
        assert await read(place, ReadAudit("rivals", types=("identity.person.*",))) == []
        session = entries[1].data["session"]
        await place.bus.ask(CloseSession("out", entries[1].by, session))
        assert types(await read(place, ReadAudit("shop")))[0] == "identity.person.signed_out"
        rivals = types(await read(place, ReadAudit("rivals", types=("identity.person.*",))))
        assert "identity.person.signed_out" not in rivals


@asynccontextmanager
async def with_a_vault(folder: Path) -> AsyncIterator[Place]:
    subscriptions = (*vault_contract.SUBSCRIPTIONS, *contract.SUBSCRIPTIONS)
    async with harness(subscriptions=subscriptions) as bus:
        place = Place(bus, folder)
        ground = a_ground(bus.as_source("request_vault"), folder / "vault")
        async with vault.build(VaultConfig(), ground), place.identity():
            yield place


async def test_over_the_vault_with_a_deleted_bucket(tmp_path: Path) -> None:
    async with with_a_vault(tmp_path) as place:
        token = await two_teams(place)
        fact: Fact = CallStarred("call-1", KEY, token)
        starred = event_of(fact, "e-1", key=KEY, subject="call-1")
        await place.bus.ask(Append("vault.call-call-1", 0, (codec.encode_event(starred),)))
        await place.bus.ask(EraseBucket("e1", KEY, "asked for", token))
        await place.bus.ask(RevokeToken("c20", token, "shop", token))
        await place.bus.ask(DeleteBucket("c21", KEY, "shop", actor=token))
        entries = await read(place, ReadAudit("shop", "shop", limit=3))
        kinds = types(entries)
        assert kinds[-5:] == [
            "identity.bucket.guarded",
            "identity.member.added",
            "identity.bucket.created",
            "identity.token.created",
            "identity.team.created",
        ]
        assert {"identity.bucket.deleted", "identity.token.revoked", "vault.erasure.ordered"} <= set(kinds)
        assert all(entry.bucket in (KEY, "_") for entry in entries)
        assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)
