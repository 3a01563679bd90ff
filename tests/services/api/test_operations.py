"""The generic routes: what is given over HTTP becomes an ask, and every wrong thing is a problem that names
it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest

from bus import Ask, Delivery, Refused, Router
from schemas.operation import Operation
from services.api.config import Config
from tests.services.api.standing import FOREIGN, OTHER, OURS, Standing, standing
from tests.services.calls.made import call_of

CALLS = f"/v1/buckets/{OURS}/calls"


class Weighed(msgspec.Struct, frozen=True):
    grams: int
    at: datetime
    label: bytes


class Weigh(Ask[Weighed], frozen=True):
    """A service that the API has never heard of."""

    TYPE = "scales.weigh"

    bucket: str
    things: tuple[str, ...]
    at: datetime
    team: str
    actor: str
    command_id: str
    depth: dict[str, list[int]] = {}  # noqa: RUF012 # msgspec copies it


WEIGH = Operation(Weigh, "POST", "/scales/{bucket}/weighings", "calls:write", "Weigh things", bucket="bucket")


class Scales:
    """Answers `Weigh`; refuses with whatever slug it is given as a thing."""

    def __init__(self) -> None:
        self.asked: list[Weigh] = []
        self.router = Router("scales")
        self.router.answers(Weigh, self.answer_weigh)

    async def answer_weigh(self, ask: Weigh, delivery: Delivery) -> Weighed:
        self.asked.append(ask)
        if ask.things[0].startswith("refuse:"):
            raise Refused(ask.things[0].removeprefix("refuse:"), "the scales say no")
        if ask.things[0] == "fault":
            raise RuntimeError("a secret of the scales")
        return Weighed(len(ask.things), ask.at, b"\x00\xff")


async def problem(answer: aiohttp.ClientResponse, status: int, slug: str) -> dict[str, Any]:
    """The problem, after it was found to be this one."""
    text = await answer.text()
    assert answer.content_type == "application/problem+json", text
    said: dict[str, Any] = json.loads(text)
    assert (answer.status, said["type"]) == (status, f"urn:trunkline:error:{slug}"), said
    assert said["detail"]
    assert "Traceback" not in text
    return said


async def test_a_list_of_calls_has_its_documented_shape(api: Standing) -> None:
    api.vault.keep(call_of(id="a", bucket=OURS), call_of(id="b", bucket=OURS), call_of(bucket=FOREIGN))
    async with api.client.get(CALLS) as answer:
        assert answer.status == 200
        page = await answer.json()
    assert [call["id"] for call in page["calls"]] == ["b", "a"]
    assert page["next_cursor"] is None
    assert page["calls"][0]["started_at"] == "2026-01-31T12:00:00.123456Z"


async def test_calls_are_counted_by_what_they_are(api: Standing) -> None:
    api.vault.keep(*[call_of(id=f"c-{number}", bucket=OURS) for number in range(3)])
    async with api.client.get(f"{CALLS}/facets?limit=1") as answer:
        facets = await answer.json()
    assert (answer.status, facets["counted"], facets["complete"]) == (200, 3, True)
    assert [each["count"] for each in facets["hosts"]] == [3]
    async with api.client.get(f"/v1/buckets/{FOREIGN}/calls/facets") as answer:
        assert answer.status == 404


async def test_pages_follow_each_other_by_cursor(api: Standing) -> None:
    api.vault.keep(*(call_of(id=f"c{number}", bucket=OURS) for number in range(5)))
    seen, cursor = [], None
    while True:
        async with api.client.get(
            CALLS, params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        ) as answer:
            page = await answer.json()
        seen += [call["id"] for call in page["calls"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["c4", "c3", "c2", "c1", "c0"]


async def test_each_filter_reaches_the_ask_in_its_type(api: Standing) -> None:
    params = {
        "method": "get",
        "host": "api.example.com",
        "path": "/a b",
        "status": "404",
        "error": "false",
        "since": "2026-01-31T12:00:00+01:00",
        "before": "2026-02-01T00:00:00Z",
        "limit": "7",
    }
    async with api.client.get(CALLS, params=params) as answer:
        assert answer.status == 200
    (asked,) = api.vault.searches
    assert (asked.method, asked.host, asked.path, asked.status) == ("get", "api.example.com", "/a b", "404")
    assert (asked.error, asked.limit) == (False, 7)
    assert asked.since == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert asked.before == datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "slug", "field"),
    [
        ("limit=many", "parameter-invalid", "limit"),
        ("limit=1.5", "parameter-invalid", "limit"),
        ("limit=99999999999999999999999", "parameter-invalid", "limit"),
        ("since=yesterday", "parameter-invalid", "since"),
        ("since=2026-01-31T12:00:00", "parameter-invalid", "since"),
        ("error=perhaps", "parameter-invalid", "error"),
        ("after=1,2,3", "parameter-invalid", "after"),
        ("after=a,b", "parameter-invalid", "after[0]"),
        ("limit=1&limit=2", "parameter-invalid", "limit"),
        ("colour=red", "parameter-unknown", "colour"),
        ("bucket=other", "parameter-unknown", "bucket"),
        ("team=them", "parameter-unknown", "team"),
    ],
)
async def test_a_bad_parameter_is_named(api: Standing, query: str, slug: str, field: str) -> None:
    async with api.client.get(f"{CALLS}?{query}") as answer:
        said = await problem(answer, 400, slug)
    assert said.get("field", "") == field
    assert api.vault.searches == []


async def test_an_unknown_parameter_tells_which_there_are(api: Standing) -> None:
    async with api.client.get(f"{CALLS}?colour=red") as answer:
        said = await problem(answer, 400, "parameter-unknown")
    assert {"method", "host", "path", "status", "since", "before", "error", "limit", "cursor"} <= set(
        said["known"]
    )


async def test_what_the_vault_refuses_keeps_its_slug(api: Standing) -> None:
    async with api.client.get(f"{CALLS}?limit=0") as answer:
        said = await problem(answer, 400, "query-invalid")
        assert said["detail"] == "limit is 0, not 1 to 500"
    async with api.client.get(f"{CALLS}?cursor={OTHER}.1") as answer:
        await problem(answer, 400, "cursor-invalid")


@pytest.mark.parametrize("route", ["calls", "calls.har", "live"])
async def test_a_query_goes_to_the_vault_and_is_pointed_into(api: Standing, route: str) -> None:
    path = f"/v1/buckets/{OURS}/{route}"
    async with api.client.get(path, params={"q": "status:404 statsu:5xx"}) as answer:
        said = await problem(answer, 400, "query-invalid")
    assert (said["field"], said["position"]) == ("q", 12)
    assert said["detail"].startswith("q, character 12: there is no field 'statsu'; ")
    async with api.client.get(path, params={"q": "status:404 -path:/a"}) as answer:
        assert answer.status == 200
        assert [ask.query for ask in api.vault.searches if ask.query][-1] == "status:404 -path:/a"


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({}, "token-missing"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "token-missing"),
        ({"Authorization": "Bearer"}, "token-missing"),
        ({"Authorization": "Bearer tl_unknown"}, "token-refused"),
        ({"Authorization": "Bearer " + "x" * 5000}, "token-refused"),
        ({"Authorization": "Bearer t\xf6ken"}, "token-refused"),
    ],
)
async def test_without_a_good_token_nothing_is_told(
    api: Standing, headers: dict[str, str], slug: str
) -> None:
    for path in (CALLS, f"/v1/buckets/{OURS}/live", f"/v1/buckets/{OURS}/calls.har", "/v1/calls/x"):
        async with (
            aiohttp.ClientSession(api.client._base_url) as nobody,
            nobody.get(path, headers=headers) as answer,
        ):
            await problem(answer, 401, slug)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert api.vault.searches == []


async def test_a_scope_that_the_token_lacks_is_named(api: Standing) -> None:
    headers = {"Authorization": "Bearer tl_blind"}
    async with api.client.get(CALLS, headers=headers) as answer:
        said = await problem(answer, 403, "scope-missing")
    assert said["scope"] == "calls:read"


@pytest.mark.parametrize("key", [FOREIGN, "unknown00001", "NOKEY", "a%2Fb", "%00", "x" * 3000])
async def test_a_foreign_bucket_and_none_at_all_look_the_same(api: Standing, key: str) -> None:
    api.vault.keep(call_of(bucket=FOREIGN))
    for path in ("calls", "live", "calls.har"):
        async with api.client.get(f"/v1/buckets/{key}/{path}") as answer:
            said = await problem(answer, 404, "bucket-unknown")
            assert said["detail"].startswith("There is no bucket")
    assert api.vault.searches == []


async def test_a_limited_token_sees_its_buckets_only(api: Standing) -> None:
    headers = {"Authorization": "Bearer tl_limited"}
    async with api.client.get(CALLS, headers=headers) as answer:
        assert answer.status == 200
    async with api.client.get(f"/v1/buckets/{OTHER}/calls", headers=headers) as answer:
        await problem(answer, 404, "bucket-unknown")
    async with api.client.get("/v1/buckets", headers=headers) as answer:
        assert [bucket["key"] for bucket in (await answer.json())["buckets"]] == [OURS]
    async with api.client.get("/v1/buckets") as answer:
        assert {bucket["key"] for bucket in (await answer.json())["buckets"]} == {OURS, OTHER}


async def test_an_idempotency_key_makes_the_same_command_for_the_same_caller(api: Standing) -> None:
    async def put(key: str | None, token: str = "tl_all", bucket: str = OURS) -> str:
        headers = {"Authorization": f"Bearer {token}", **({"Idempotency-Key": key} if key else {})}
        async with api.client.put(f"/v1/buckets/{bucket}", json={"name": "x"}, headers=headers) as answer:
            assert answer.status == 200
        return str(api.identity.asked[-1].command_id)

    first = await put("k")
    assert await put("k") == first
    others = {await put("other"), await put("k", "tl_limited"), await put("k", bucket=OTHER), await put(None)}
    assert len(others) == 4
    assert first not in others
    async with api.client.put(
        f"/v1/buckets/{OURS}", json={}, headers={"Idempotency-Key": "k" * 256}
    ) as answer:
        assert (await problem(answer, 400, "parameter-invalid"))["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("body", "status", "slug", "field"),
    [
        (b'{"name": ', 400, "body-broken", None),
        (b"\xff\xfe", 400, "body-broken", None),
        (b"[1]", 400, "body-broken", None),
        (b"[" * 100_000, 400, "body-broken", None),
        (b'{"name": 7}', 400, "parameter-invalid", "name"),
        (b'{"name": null}', 400, "parameter-invalid", "name"),
        (b'{"name": "x", "capture": "often"}', 400, "parameter-invalid", "capture"),
        (b'{"name": "x", "body_cap_bytes": 1.5}', 400, "parameter-invalid", "body_cap_bytes"),
        (b'{"name": "x", "body_cap_bytes": 1e400}', 400, "body-broken", None),
        (
            b'{"name": "x", "body_cap_bytes": 99999999999999999999}',
            400,
            "parameter-invalid",
            "body_cap_bytes",
        ),
        (b'{"name": "x", "colour": "red"}', 400, "parameter-unknown", "colour"),
        (b'{"name": "x", "team": "them"}', 400, "parameter-unknown", "team"),
        (b'{"name": "x", "command_id": "mine"}', 400, "parameter-unknown", "command_id"),
        (b"", 400, "parameter-invalid", "name"),
        (b'{"name": ""}', 400, "bucket-invalid", None),
    ],
)
async def test_a_bad_body_is_a_problem(
    api: Standing, body: bytes, status: int, slug: str, field: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    async with api.client.put(f"/v1/buckets/{OURS}", data=body, headers=headers) as answer:
        said = await problem(answer, status, slug)
    assert said.get("field") == field


async def test_a_body_of_another_kind_or_too_large_is_refused() -> None:
    async with standing(Config(max_body_bytes=1000)) as api:
        async with api.client.put(
            f"/v1/buckets/{OURS}", data=b"<a/>", headers={"Content-Type": "text/xml"}
        ) as answer:
            await problem(answer, 415, "media-type-unknown")
        body = json.dumps({"name": "x" * 1000}).encode()
        async with api.client.put(f"/v1/buckets/{OURS}", data=body) as answer:
            said = await problem(answer, 413, "body-too-large")
            assert said["limit_bytes"] == 1000


async def test_a_new_operation_is_served_with_nothing_added() -> None:
    scales = Scales()
    async with standing(operations={"scales": (WEIGH,)}, routers=(scales.router,)) as api:
        body = {"things": ["a", "b"], "at": "2026-01-01T01:00:00+01:00", "depth": {"x": [1]}}
        async with api.client.post(f"/v1/scales/{OURS}/weighings", json=body) as answer:
            assert await answer.json() == {"grams": 2, "at": "2026-01-01T00:00:00Z", "label": "AP8="}
        (asked,) = scales.asked
        assert (asked.team, asked.actor, asked.depth) == ("us", "all", {"x": [1]})
        body["depth"] = {"x": [1, "two"]}
        async with api.client.post(f"/v1/scales/{OURS}/weighings", json=body) as answer:
            assert (await problem(answer, 400, "parameter-invalid"))["field"].startswith("depth[")
        async with api.client.post(f"/v1/scales/{FOREIGN}/weighings", json=body | {"depth": {}}) as answer:
            await problem(answer, 404, "bucket-unknown")
        async with api.client.get("/v1/openapi.json") as answer:
            assert "/v1/scales/{bucket}/weighings" in (await answer.json())["paths"]


@pytest.mark.parametrize(
    ("slug", "status"),
    [
        ("weight-unknown", 404),
        ("weight-conflict", 409),
        ("weight-invalid", 400),
        ("too-heavy", 422),
        ("weight-forbidden", 403),
        ("weight-gone", 410),
        ("weight-unauthorized", 401),
        ("weight-limited", 429),
        ("call-unknown", 404),
    ],
)
async def test_a_refusals_status_follows_from_its_slug(slug: str, status: int) -> None:
    scales = Scales()
    async with standing(operations={"scales": (WEIGH,)}, routers=(scales.router,)) as api:
        body = {"things": [f"refuse:{slug}"], "at": "2026-01-01T00:00:00Z"}
        async with api.client.post(f"/v1/scales/{OURS}/weighings", json=body) as answer:
            assert (await problem(answer, status, slug))["detail"] == "the scales say no"
            assert answer.headers.get("Retry-After") == ("60" if status == 429 else None)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_a_service_with_a_fault_is_named_and_its_secrets_are_not_told() -> None:
    scales = Scales()
    async with standing(operations={"scales": (WEIGH,)}, routers=(scales.router,)) as api:
        body = {"things": ["fault"], "at": "2026-01-01T00:00:00Z"}
        async with api.client.post(f"/v1/scales/{OURS}/weighings", json=body) as answer:
            said = await problem(answer, 500, "service-failed")
    assert said["service"] == "scales"
    assert "secret" not in json.dumps(said)


async def test_a_service_that_is_away_is_named_and_the_others_go_on() -> None:
    async with standing(without_vault=True) as api:
        async with api.client.get(CALLS) as answer:
            said = await problem(answer, 503, "service-unavailable")
            assert said["service"] == "request_vault"
            assert int(answer.headers["Retry-After"]) >= 1
        async with api.client.get("/v1/buckets") as answer:
            assert answer.status == 200


async def test_a_service_that_lacks_something_is_unavailable(api: Standing) -> None:
    api.vault.down = True
    async with api.client.get(CALLS) as answer:
        assert (await problem(answer, 503, "service-unavailable"))["service"] == "request_vault"
    api.doors.stale = True
    async with api.client.get(CALLS) as answer:
        assert (await problem(answer, 503, "service-unavailable"))["service"] == "identity"


async def test_an_operation_that_does_not_fit_its_ask_is_found_at_start() -> None:
    for path, bucket in (("/x/{nothing}", None), ("/x", "nothing"), ("/x/{team}", None)):
        wrong = Operation(Weigh, "GET", path, "calls:read", "", bucket=bucket)
        with pytest.raises(ValueError, match="Weigh has no field"):
            async with standing(operations={"scales": (wrong,)}):
                pass
