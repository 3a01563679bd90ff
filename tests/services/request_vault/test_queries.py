"""What of a query becomes a plain filter, for which engines have indices, and what stays a tree."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bus.errors import Refused
from services.calls.query import AllOf, AnyOf, Compared, Is, Not, StatusClass, Text
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.domain.recording import to_us
from tests.services.request_vault.samples import BUCKET, START

AN_HOUR_AGO = to_us(START - timedelta(hours=1))


@pytest.mark.parametrize(
    ("plain", "text", "found"),
    [
        ({}, "", {}),
        ({"method": "GET"}, "", {"method": "GET"}),
        (
            {},
            "status:5xx method:POST host:A path:/v1/*",
            {"status_class": 5, "method": "POST", "host": "a", "path": "/v1/"},
        ),
        ({}, "status:404", {"status": 404, "status_class": 4}),
        ({}, "path:*", {}),
        ({}, "since:1h since:2h", {"since_us": AN_HOUR_AGO}),
        ({}, "since:2h since:1h", {"since_us": AN_HOUR_AGO}),
        ({"since_us": 7}, "since:1h", {"since_us": AN_HOUR_AGO}),
        ({}, "before:1h before:1m", {"before_us": AN_HOUR_AGO}),
        ({"before_us": 7}, "before:1h", {"before_us": 7}),
        ({}, "is:error error:x", {"error": True, "error_slug": "x"}),
        ({}, "-is:error", {"error": False}),
        # One filter holds one value: the second stays in the tree.
        ({"host": "a"}, "host:b", {"host": "a", "where": Text("host", ("b",))}),
        ({}, "method:GET method:POST", {"method": "GET", "where": Text("method", ("POST",))}),
        ({}, "path:/a* path:/b*", {"path": "/a", "where": Text("path", ("/b", ""))}),
        ({}, "status:4xx status:404", {"status_class": 4, "where": Compared("status", "", 404)}),
        ({"status_class": 4}, "status:5xx", {"status_class": 4, "where": StatusClass(5)}),
        ({}, "-is:error error:x", {"error": False, "where": Text("error", ("x",))}),
        ({}, "error:x -is:error", {"error_slug": "x", "where": Not(Is("error"))}),
        ({"error": False}, "is:error", {"error": False, "where": Is("error")}),
        # What an OR or a minus stands before is no filter of its own.
        (
            {},
            "status:5xx OR method:GET",
            {"where": AnyOf((StatusClass(5), Text("method", ("GET",))))},
        ),
        ({}, "-status:5xx -path:/a", {"where": AllOf((Not(StatusClass(5)), Not(Text("path", ("/a",)))))}),
    ],
)
def test_what_an_index_can_answer_becomes_a_filter(
    plain: dict[str, Any], text: str, found: dict[str, Any]
) -> None:
    assert narrowed(CallQuery(BUCKET, **plain), text, START) == CallQuery(BUCKET, **found)


def test_what_cannot_be_read_is_refused_at_its_character() -> None:
    with pytest.raises(Refused, match=r"^q, character 6: path: has no value") as caught:
        narrowed(CallQuery(BUCKET), "path:", START)
    assert caught.value.reason == "query-invalid"
