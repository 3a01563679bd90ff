"""schemathesis tries what the OpenAPI document promises on a whole installation: good and bad requests for
every operation, each answer held against the document."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.effort import tries
from tests.services.api.installed import CALL, FOREIGN, FOREIGN_CALL, OURS, Installed, installed
from tests.services.calls.made import call_of

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 12
TOO_LONG = b"more than 8190 bytes"
Places = dict[str, dict[str, tuple[str, ...]]]
EMAIL = "ann@example.com"


@pytest.mark.timeout(600)
async def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    async with installed(tmp_path) as api:
        async with api.client.get("/v1/openapi.json") as answer:
            document = await answer.json()
        seen: Counter[tuple[str, int]] = Counter()
        places = await things(api)
        wrong = await asyncio.to_thread(try_all, api, document, places, seen)
    assert not wrong, "\n\n".join(wrong)
    # So that nobody takes a run for a good one that got past no first check.
    answered = {label for label, status in seen if status == 200}
    assert len(answered) > len({label for label, _ in seen}) / 2, seen


async def things(api: Installed) -> Places:
    """What path parameters are half of the time, by the path's first word: else hardly a request would get
    past the first check."""
    await api.json("PUT", f"/v1/teams/default/members/{EMAIL}", json={"role": "viewer"})
    await api.keep(*(call_of(id=f"call-{number}", bucket=OURS) for number in range(2)))
    shared = await api.json("PUT", f"/v1/buckets/{OURS}/calls/{CALL}/share", json={})
    body = {"value": "ann", "header": "X-User"}
    erasure = await api.json("POST", f"/v1/buckets/{OURS}/erasures", json=body)
    token = await api.json("POST", "/v1/tokens", json={"name": "spare", "scopes": ["calls:read"]})
    return {
        "buckets": {"id": (CALL, "call-1", erasure["id"]), "key": (OURS, FOREIGN), "bucket": (OURS, FOREIGN)},
        "calls": {"id": (CALL, "call-1", FOREIGN_CALL)},
        "events": {"id": (CALL, FOREIGN_CALL)},
        "teams": {"id": ("default", "them"), "email": (EMAIL,)},
        "tokens": {"id": (token["id"],)},
        "shared": {"share": (shared["share"],)},
    }


def last(operation: Any) -> tuple[bool, ...]:
    """What takes things away comes last, so that there is something to be tried on."""
    ends = operation.method.upper() == "DELETE"
    whole = ends and operation.path.endswith(("/teams/{id}", "/buckets/{key}"))
    return whole and "teams" in operation.path, whole, operation.path.endswith("/erasure"), ends


def try_all(
    api: Installed, document: dict[str, Any], places: Places, seen: Counter[tuple[str, int]]
) -> list[str]:
    """What is wrong."""
    schema = schemathesis.openapi.from_dict(document)
    found_operations: Any = schema.get_all_operations()
    operations = [each.ok() for each in found_operations]
    operations.sort(key=last)
    found: list[str] = []
    for operation in operations:
        if operation.path.endswith("/live"):
            continue  # a good request for it never ends
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
                continue
            known = places.get(operation.path.split("/")[2], {})
            found += try_one(api, operation, mode, known, seen)
    return found


def try_one(
    api: Installed,
    operation: Any,
    mode: GenerationMode,
    places: dict[str, tuple[str, ...]],
    seen: Counter[tuple[str, int]],
) -> list[str]:
    """What is wrong with its answers."""
    turn = 0
    combined = [dict(zip(places, each, strict=True)) for each in itertools.product(*places.values())]

    @settings(
        max_examples=tries(EXAMPLES),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case[Any]) -> None:
        nonlocal turn
        turn += 1
        if turn % 2:
            known = combined[turn // 2 % len(combined)]
            case.path_parameters |= {name: known[name] for name in known if name in case.path_parameters}
        secret = api.secrets["operator" if turn % 3 else "limited"]
        answer = case.call(base_url=api.url, headers={"Authorization": f"Bearer {secret}"}, timeout=20)
        if answer.status_code == 400 and TOO_LONG in answer.content:
            return  # below the API: the HTTP parser refuses a request line this long, in plain text
        seen[operation.label, answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    try:
        one()
    except BaseExceptionGroup as group:
        return [f"{operation.label} ({mode.value}): {str(group)[:3000]}"]
    return []


def test_the_document_names_every_status_by_itself() -> None:
    """A `default` would let any status pass the test above."""
    from services.api.domain.answers import responses

    made = responses(
        {}, public=False, method="GET", tagged=True, body=False, path=True, refused=("thing-unknown",)
    )
    assert "default" not in json.dumps(made)
