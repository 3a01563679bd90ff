"""What services are asked on behalf of a caller: the edge fills in who it is and what it may see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.identity import PutBucket
from schemas.request_vault import ReadEvents, TraceEvent
from tests.services.api.standing import FOREIGN, OTHER, OURS, Standing, caller
from tests.services.api.test_operations import CALLS, problem
from tests.services.calls.made import AT, call_of


async def test_a_client_names_a_new_bucket_by_putting_it(api: Standing) -> None:
    async with api.client.put(
        "/v1/buckets/newbucket001", json={"name": "New", "capture": "strict"}
    ) as answer:
        assert (answer.status, (await answer.json())["name"]) == (200, "New")
    (asked,) = api.identity.asked
    assert isinstance(asked, PutBucket)
    assert (asked.key, asked.team, asked.capture) == ("newbucket001", "us", "strict")


async def test_identity_is_who_says_what_is_wrong_with_a_new_key(api: Standing) -> None:
    async with api.client.put("/v1/buckets/short", json={"name": "New"}):
        pass
    (asked,) = api.identity.asked
    assert isinstance(asked, PutBucket)
    assert asked.key == "short"


async def test_who_makes_a_bucket_can_use_it_at_once(api: Standing) -> None:
    api.doors.unseen["newbucket001"] = 4
    async with api.client.put("/v1/buckets/newbucket001", json={"name": "New"}) as answer:
        assert answer.status == 200
    async with api.client.get("/v1/buckets/newbucket001/calls") as answer:
        assert answer.status == 200


async def test_a_limited_token_does_not_bring_back_a_bucket_that_is_gone(api: Standing) -> None:
    api.doors.grants["tl_gone"] = caller("gone", buckets=("gone00000001",))
    headers = {"Authorization": "Bearer tl_gone"}
    async with api.client.put("/v1/buckets/gone00000001", json={"name": "x"}, headers=headers) as answer:
        await problem(answer, 404, "bucket-unknown")


async def test_a_limited_token_makes_no_buckets_and_nobody_takes_a_foreign_one(api: Standing) -> None:
    limited = {"Authorization": "Bearer tl_limited"}
    async with api.client.put("/v1/buckets/newbucket001", json={"name": "x"}, headers=limited) as answer:
        await problem(answer, 404, "bucket-unknown")
    async with api.client.put(f"/v1/buckets/{FOREIGN}", json={"name": "mine now"}) as answer:
        await problem(answer, 404, "bucket-unknown")
    async with api.client.delete("/v1/buckets/newbucket001") as answer:
        await problem(answer, 404, "bucket-unknown")
    assert api.identity.asked == []


async def test_calls_since_a_moment(api: Standing) -> None:
    api.vault.keep(
        call_of(id="old", bucket=OURS, started_at=AT - timedelta(days=1)), call_of(id="new", bucket=OURS)
    )
    async with api.client.get(CALLS, params={"since": "2026-01-31T00:00:00Z"}) as answer:
        assert [call["id"] for call in (await answer.json())["calls"]] == ["new"]


async def test_the_log_is_asked_for_what_the_caller_may_see(api: Standing) -> None:
    params = {"type": "identity.#,vault.call.*", "subject": "s", "key": OURS, "after": "c", "limit": "7"}
    async with api.client.get("/v1/events", params=params) as answer:
        assert (answer.status, await answer.json()) == (
            200,
            {"events": [], "next_cursor": None, "tail_cursor": ""},
        )
    limited = {"Authorization": "Bearer tl_limited"}
    async with api.client.get("/v1/events", headers=limited) as answer:
        assert answer.status == 200
    async with api.client.get("/v1/events/some%2Fid/trace", headers=limited) as answer:
        said = await problem(answer, 404, "event-unknown")
        assert said["remedy"]
    assert api.vault.read == [
        ReadEvents(
            ("identity.#", "vault.call.*"), "s", key=OURS, after="c", limit=7, visible_keys=(OURS, OTHER)
        ),
        ReadEvents(visible_keys=(OURS,)),
        TraceEvent("some/id", visible_keys=(OURS,)),
    ]
    async with api.client.get("/v1/events", params={"visible_keys": OTHER}, headers=limited) as answer:
        await problem(answer, 400, "parameter-unknown")
    async with api.client.get("/v1/events", headers={"Authorization": "Bearer tl_blind"}) as answer:
        assert (await problem(answer, 403, "scope-missing"))["scope"] == "events:read"


@pytest.mark.parametrize(
    ("at", "asked"),
    [
        ("2026-11-01T12:00Z", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        ("2026-11-01T12:00:30.5+01:00", datetime(2026, 11, 1, 11, 0, 30, 500_000, UTC)),
        ("2026-11-01T12:00+01:00", datetime(2026, 11, 1, 11, tzinfo=UTC)),
    ],
)
async def test_a_moment_may_leave_out_its_seconds(api: Standing, at: str, asked: datetime) -> None:
    async with api.client.get(f"/v1/buckets/{OURS}", params={"at": at}) as answer:
        assert answer.status == 200
    assert api.identity.asked[-1].at == asked
    for bad in ("2026-11-01T12:00", "2026-11-01", "12:00Z"):
        async with api.client.get(f"/v1/buckets/{OURS}", params={"at": bad}) as answer:
            assert (await problem(answer, 400, "parameter-invalid"))["field"] == "at"


async def test_a_bucket_is_told_to_who_may_see_it(api: Standing) -> None:
    for key, token, status in (
        (OURS, "tl_all", 200),
        (OURS, "tl_limited", 200),
        (OTHER, "tl_limited", 404),
        (FOREIGN, "tl_all", 404),
        ("unknown00001", "tl_all", 404),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        async with api.client.get(f"/v1/buckets/{key}", headers=headers) as answer:
            assert answer.status == status, key
    assert {(ask.team, ask.allowed_buckets) for ask in api.identity.asked} == {("us", ()), ("us", (OURS,))}
