"""The HAR export: valid, whole, and broken off rather than silently short."""

from __future__ import annotations

import aiohttp
import pytest

from schemas.traffic_gateway import CallError
from services.api.config import Config
from tests.services.api.standing import OURS, Standing, standing
from tests.services.api.test_operations import problem
from tests.services.calls import har12
from tests.services.calls.made import call_of

HAR = f"/v1/buckets/{OURS}/calls.har"
LONG = bytes(range(256)) * 3000


async def archive_of(api: Standing, query: str = "") -> har12.Archive:
    async with api.client.get(HAR + query) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == f'attachment; filename="trunkline-{OURS}.har"'
        return har12.check(await answer.read())


async def test_an_empty_selection_is_a_valid_archive(api: Standing) -> None:
    archive = await archive_of(api)
    assert archive.log.entries == []
    assert (archive.log.creator.name, archive.log.creator.version) == ("Trunkline", "0.0.1")


async def test_all_calls_that_match_are_exported_over_many_pages(api: Standing) -> None:
    api.vault.keep(
        *(call_of("PUT" if n % 2 else "GET", f"http://h/{n}", id=str(n), bucket=OURS) for n in range(450))
    )
    assert [entry.request.url for entry in (await archive_of(api)).log.entries] == [
        f"http://h/{n}" for n in reversed(range(450))
    ]
    assert len((await archive_of(api, "?method=PUT")).log.entries) == 225
    assert len((await archive_of(api, "?limit=130")).log.entries) == 130
    assert len((await archive_of(api, "?limit=9999")).log.entries) == 450


async def test_bodies_of_every_kind_are_in_it(api: Standing) -> None:
    api.vault.keep(
        call_of("POST", id="a", bucket=OURS, request_body=b"hello", response_body=LONG, response_headers=()),
        call_of(id="b", bucket=OURS, status=None, error=CallError("dns-failed", "no such host")),
        bodies=(LONG,),
    )
    failed, posted = (await archive_of(api)).log.entries
    assert failed.response.status == 0
    assert posted.request.postData is not None
    assert posted.request.postData.text == "hello"
    assert (posted.response.content.size, posted.response.content.encoding) == (len(LONG), "base64")


async def test_a_call_that_goes_in_between_is_left_out(api: Standing) -> None:
    api.vault.keep(call_of(id="stays", bucket=OURS), call_of(id="goes", bucket=OURS))
    found = api.vault._summary

    def summary(number: int) -> object:
        row = found(number)
        api.vault.calls = [call for call in api.vault.calls if call.id != "goes"]
        return row

    api.vault._summary = summary  # type: ignore[assignment, method-assign]
    async with api.client.get(HAR) as answer:
        har12.check(await answer.read())


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("?limit=0", "parameter-invalid"),
        ("?limit=x", "parameter-invalid"),
        ("?cursor=foreign.1", "cursor-invalid"),
        ("?colour=red", "parameter-unknown"),
    ],
)
async def test_a_bad_selection_is_a_problem(api: Standing, query: str, slug: str) -> None:
    async with api.client.get(HAR + query) as answer:
        await problem(answer, 400, slug)


async def test_an_archive_that_cannot_be_finished_is_broken_off() -> None:
    async with standing(Config(ask_timeout_s=1)) as api:
        api.vault.keep(*(call_of(id=str(n), bucket=OURS) for n in range(150)))
        searched = api.vault.answer_search_calls

        async def once(ask: object, delivery: object) -> object:
            page = await searched(ask, delivery)  # type: ignore[arg-type]
            api.vault.down = True
            return page

        next(route for route in api.vault.router.asks if "search" in route.pattern).handler = once
        async with api.client.get(HAR) as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
