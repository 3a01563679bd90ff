"""Entity tags and conditional requests, as RFC 9110 has them."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.domain.conditions import Tags, read_tags
from tests.services.api.installed import OURS, installed
from tests.services.api.standing import Standing
from tests.services.api.test_operations import problem

BUCKET = f"/v1/buckets/{OURS}"


@pytest.mark.parametrize(
    ("lines", "tags"),
    [
        ([], None),
        (["*"], Tags(anything=True)),
        (['"v1"'], Tags(strong=('"v1"',))),
        (['"a", W/"b"', ' ,"c",'], Tags(strong=('"a"', '"c"'), weak=('"b"',))),
        (['""'], Tags(strong=('""',))),
        (['"a,b"'], Tags(strong=('"a,b"',))),
    ],
)
def test_lists_are_read(lines: list[str], tags: Tags | None) -> None:
    assert read_tags(lines) == tags


@pytest.mark.parametrize(
    "line", ["", ",", "v1", '"v1', "*, *", '*, "a"', 'w/"a"', '"a""b"', '"a" "', '"a\x00"']
)
def test_what_is_no_list_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_tags([line])


@given(
    st.lists(
        st.tuples(st.booleans(), st.text(string.ascii_letters + "!#,", max_size=8)), min_size=1, max_size=9
    )
)
def test_what_is_written_is_read(tags: list[tuple[bool, str]]) -> None:
    read = read_tags([", ".join(f'{"W/" if weak else ""}"{text}"' for weak, text in tags)])
    assert read is not None
    for weak, text in tags:
        assert read.holds_weakly(f'"{text}"')
        assert weak or read.holds_strongly(f'"{text}"')
    assert not read.holds_weakly('"never"')


def test_versions_are_those_of_strong_tags() -> None:
    tags = read_tags(['"v3", W/"v4", "x", "v5", "v3", "v05"'])
    assert tags is not None
    assert tags.versions() == (3, 5)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_the_client_has_is_not_sent_again(api: Standing, method: str) -> None:
    for path in (BUCKET, "/v1/buckets", "/v1/openapi.json"):
        async with api.client.request(method, path) as answer:
            assert answer.status == 200
            tag = answer.headers["ETag"]
            assert "no-store" not in answer.headers["Cache-Control"]
        for given_tags in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            async with api.client.request(method, path, headers={"If-None-Match": given_tags}) as answer:
                assert (answer.status, answer.headers["ETag"]) == (304, tag), (path, given_tags)
                assert await answer.read() == b""
        async with api.client.request(method, path, headers={"If-None-Match": '"other"'}) as answer:
            assert answer.status == 200
        async with api.client.request(method, path, headers={"If-Match": '"other"'}) as answer:
            assert answer.status == 412
        async with api.client.request(method, path, headers={"If-Match": f"W/{tag}"}) as answer:
            assert answer.status == 412
        async with api.client.request(method, path, headers={"If-Match": f'"other", {tag}'}) as answer:
            assert answer.status == 200
    async with api.client.get(BUCKET) as answer:
        assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == ('"v1"', "private, no-cache")
        assert answer.headers["Vary"] == "Authorization"


async def test_a_condition_that_cannot_be_read_is_named(api: Standing) -> None:
    for name in ("If-Match", "If-None-Match"):
        for request in (api.client.get, api.client.delete):
            async with request(BUCKET, headers={name: "v1"}) as answer:
                assert (await problem(answer, 400, "parameter-invalid"))["field"] == name
    assert len(api.identity.asked) == 2  # the GETs


async def test_a_condition_on_what_has_no_version_fails(api: Standing) -> None:
    """RFC 9110, 13.1.1: without a tag nothing that is listed can match; `*` asks only that it is there."""
    path = f"{BUCKET}/calls/c/star"
    for headers in ({"If-Match": '"v1"'}, {"If-None-Match": "*"}, {"If-None-Match": '"v1"'}):
        async with api.client.put(path, headers=headers) as answer:
            await problem(answer, 412, "precondition-failed")
    async with api.client.put(path, headers={"If-Match": "*"}) as answer:
        assert answer.status == 503  # it was asked, and nobody here answers


async def test_a_bucket_is_changed_only_as_it_was_read(tmp_path: Path) -> None:
    async with installed(tmp_path) as api:
        async with api.client.get(BUCKET) as answer:
            tag = answer.headers["ETag"]
        async with api.client.patch(BUCKET, json={"name": "A"}, headers={"If-Match": tag}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (200, '"v2"')
        async with api.client.patch(BUCKET, json={"name": "B"}, headers={"If-Match": tag}) as answer:
            await problem(answer, 412, "precondition-failed")
        async with api.client.patch(BUCKET, json={"name": "C"}, headers={"If-Match": '"v9", "v2"'}) as answer:
            assert (await answer.json())["name"] == "C"
        for weak in ('W/"v3"', '"3"', '"v03"'):
            async with api.client.delete(BUCKET, headers={"If-Match": weak}) as answer:
                await problem(answer, 412, "precondition-failed")
        async with api.client.put(BUCKET, json={"name": "D"}, headers={"If-None-Match": "*"}) as answer:
            await problem(answer, 412, "precondition-failed")
        made = {"If-None-Match": "*"}
        async with api.client.put("/v1/buckets/new000000001", json={"name": "E"}, headers=made) as answer:
            assert answer.status == 200
            assert "ETag" not in answer.headers  # RFC 9110, 9.3.4
        async with api.client.get(BUCKET, headers={"If-None-Match": '"v3"'}) as answer:
            assert answer.status == 304
