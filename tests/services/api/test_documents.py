"""The OpenAPI document and the page: valid, complete, and made from the lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import aiohttp

from schemas.identity.state import SETTINGS
from services.api.edge.problems import KINDS
from services.api.service import contracts
from services.chassis import web
from tests.services.api.standing import Standing

HAND_WRITTEN = {
    "/calls/{id}",
    "/buckets/{bucket}/live",
    "/buckets/{bucket}/calls.har",
    "/openapi.json",
    "/docs",
    "/shared/{share}",
}


async def document_of(api: Standing) -> dict[str, Any]:
    """As anybody gets it: without a token."""
    async with (
        aiohttp.ClientSession(api.client._base_url) as nobody,
        nobody.get("/v1/openapi.json") as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "application/json")
        document: dict[str, Any] = await answer.json()
        return document


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


async def test_every_operation_and_every_exception_is_in_it(api: Standing) -> None:
    document = await document_of(api)
    assert document["openapi"] == "3.1.0"
    listed = {("/v1" + o.path, o.method.lower()) for all in contracts().values() for o in all}
    listed |= {(f"/v1{path}", "get") for path in HAND_WRITTEN}
    found = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert found == listed


async def test_references_lead_somewhere_and_operation_ids_are_unique(api: Standing) -> None:
    document = await document_of(api)
    for reference in references(document):
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]
        assert isinstance(place, dict)
    ids = [route["operationId"] for methods in document["paths"].values() for route in methods.values()]
    assert len(set(ids)) == len(ids)


async def test_parameters_are_the_asks_fields(api: Standing) -> None:
    document = await document_of(api)
    route = document["paths"]["/v1/buckets/{bucket}/calls"]["get"]
    parameters = {parameter["name"]: parameter for parameter in route["parameters"]}
    assert set(parameters) >= {
        "bucket",
        "method",
        "host",
        "path",
        "status",
        "since",
        "before",
        "error",
        "limit",
        "cursor",
    }
    assert parameters["bucket"]["in"] == "path"
    assert parameters["limit"]["schema"] == {"type": "integer", "default": 50}
    assert parameters["since"]["schema"] == {"type": "string", "format": "date-time"}
    assert "a prefix" in parameters["path"]["description"]
    assert "case-insensitive" in parameters["host"]["description"]
    assert route["x-scope"] == "calls:read"
    assert {"200", "400", "401", "403", "404", "503"} <= set(route["responses"])


async def test_times_are_told_to_be_times(api: Standing) -> None:
    schemas = (await document_of(api))["components"]["schemas"]
    for name, field in (("CallSummary", "started_at"), ("Bucket", "created_at"), ("CallView", "recorded_at")):
        assert schemas[name]["properties"][field]["format"] == "date-time"


async def test_what_the_edge_fills_in_is_not_offered(api: Standing) -> None:
    document = await document_of(api)
    body = document["paths"]["/v1/buckets/{key}"]["put"]["requestBody"]
    properties = body["content"]["application/json"]["schema"]["properties"]
    assert set(properties) == {"name", *SETTINGS}
    listed = document["paths"]["/v1/buckets"]["get"]["parameters"]
    assert {each["name"] for each in listed if each["in"] != "header"} == {"limit", "cursor"}


async def test_the_page_shows_every_route_and_loads_nothing(api: Standing) -> None:
    document = await document_of(api)
    async with api.client.get("/v1/docs") as answer:
        assert answer.content_type == "text/html"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        page = await answer.text()
    for path in document["paths"]:
        assert path in page
    assert not re.findall(r"(?:src|href)=['\"]?(?:https?:)?//", page)
    assert "<script" not in page


async def test_what_is_said_of_a_parameter_stands_beside_it_and_nowhere_else(api: Standing) -> None:
    document = await document_of(api)
    put = document["paths"]["/v1/buckets/{key}"]["put"]
    assert put["description"].endswith("scope-forbidden.\n\nNeeds the scope `buckets:write`.")
    assert "body_cap_bytes" not in put["description"]
    properties = put["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert properties["body_cap_bytes"]["description"].startswith("how much of each body")
    assert document["paths"]["/v1/buckets"]["get"]["description"].startswith(
        "The buckets of a team, oldest first.\n"
    )
    async with api.client.get("/v1/docs") as answer:
        page = await answer.text()
    before_schemas = page.partition("<h2 id=schemas>")[0]
    assert "<td>12 characters, a-z and 0-9. Required." in before_schemas
    assert "1 to 500. <code>50</code> unless given." in before_schemas
    assert "<td>What a person types, such as <code>status:5xx -path:/health</code>" in before_schemas
    assert "`" not in before_schemas


def test_each_problem_is_explained_once() -> None:
    kinds = [*web.KINDS, *KINDS]
    assert len({kind.slug for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug)
        assert 400 <= kind.status < 600
        assert kind.meaning.endswith(".")
        assert kind.remedy.endswith(".")
