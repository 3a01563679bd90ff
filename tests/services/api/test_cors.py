"""Which web pages may call the API."""

from __future__ import annotations

import pytest

from services.api.config import Config
from services.chassis.config import ConfigInvalid, load
from tests.services.api.standing import OURS, standing

PAGE = "https://dashboard.example.com"
CALLS = f"/v1/buckets/{OURS}/calls"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}


async def test_nobody_may_unless_told() -> None:
    async with standing() as api:
        async with api.client.get(CALLS, headers={"Origin": PAGE}) as answer:
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
        async with api.client.options(CALLS, headers=PREFLIGHT) as answer:
            assert answer.status == 405


async def test_a_page_of_a_named_origin_may() -> None:
    async with standing(Config(cors_origins=(PAGE,))) as api:
        async with api.client.options(CALLS, headers=PREFLIGHT) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
            assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
            assert "Access-Control-Allow-Credentials" not in answer.headers
        for path in (CALLS, "/v1/calls/none", "/v1/nothing"):
            async with api.client.get(path, headers={"Origin": PAGE}) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == PAGE
                assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
                assert "Origin" in ", ".join(answer.headers.getall("Vary"))
        other = {"Origin": "https://dashboard.example.com.evil.example"}
        async with api.client.get(CALLS, headers=other) as answer:
            assert answer.status == 200
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Origin" in ", ".join(answer.headers.getall("Vary"))
        async with api.client.options(CALLS, headers=PREFLIGHT | other) as answer:
            assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def test_any_page_may_when_any_is_told() -> None:
    async with standing(Config(cors_origins=("*",))) as api:
        async with api.client.get(CALLS, headers={"Origin": PAGE}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers
        async with api.client.options(CALLS) as answer:
            assert answer.status == 405  # no preflight


NO_ORIGINS = ("dashboard.example.com", f"{PAGE}/", f"{PAGE}/x", "https://*.example.com", "null")


@pytest.mark.parametrize("bad", NO_ORIGINS)
def test_what_is_no_origin_is_refused(bad: str) -> None:
    set_so = {"TRUNKLINE_API_CORS_ORIGINS": f"{PAGE}, {bad}", "TRUNKLINE_DATA_DIR": "/tmp/none"}
    with pytest.raises(ConfigInvalid, match="TRUNKLINE_API_CORS_ORIGINS"):
        load({"api": Config}, environment=set_so)
    good = {"TRUNKLINE_API_CORS_ORIGINS": f"{PAGE}, http://[::1]:3000", "TRUNKLINE_DATA_DIR": "/tmp/none"}
    loaded = load({"api": Config}, environment=good)
    assert loaded.rooms["api"].cors_origins == (PAGE, "http://[::1]:3000")
