"""`/v1` follows semantic versioning: v1.txt beside this file lists what a client can rely on, a line each. A
line that goes or changes is a new major version; one that is added is a decision, and is added there:
`python -m tests.services.api.test_v1 < openapi.json > tests/services/api/v1.txt`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.services.api.standing import Standing

PINNED = Path(__file__).with_name("v1.txt")


def surface(document: dict[str, Any]) -> Iterator[str]:
    """What the OpenAPI document promises, without its prose."""
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            where = f"{method.upper()} {path}"
            yield f"{where} scope {route.get('x-scope', '-')}"
            for parameter in route.get("parameters", ()):
                presence = "required" if parameter.get("required") else "optional"
                yield (
                    f"{where} {parameter['in']} {parameter['name']}: {shape(parameter['schema'])} {presence}"
                )
            for kind, body in route.get("requestBody", {}).get("content", {}).items():
                yield from fields(f"{where} body {kind}", body["schema"])
            for status, answer in route["responses"].items():
                if status.startswith("2"):
                    for kind, body in answer.get("content", {"-": {}}).items():
                        yield f"{where} {status} {kind}: {shape(body.get('schema', {}))}"
    for name, schema in document["components"]["schemas"].items():
        yield from fields(name, schema)


def fields(of: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        presence = "required" if name in schema.get("required", ()) else "optional"
        yield f"{of}.{name}: {shape(field)} {presence}"


def shape(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return "|".join(sorted(shape(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return "|".join(json.dumps(each) for each in schema["enum"])
    told = str(schema.get("format") or schema.get("type", "any"))
    if "prefixItems" in schema:
        told += f"[{', '.join(shape(each) for each in schema['prefixItems'])}]"
    elif isinstance(schema.get("items"), dict):
        told += f"[{shape(schema['items'])}]"
    return f"{told}={json.dumps(schema['default'])}" if "default" in schema else told


async def test_what_a_client_relies_on_is_this(api: Standing) -> None:
    async with (
        aiohttp.ClientSession(api.client._base_url) as nobody,
        nobody.get("/v1/openapi.json") as answer,
    ):
        offered = set(surface(await answer.json()))
    pinned = set(PINNED.read_text().splitlines())
    assert pinned - offered == set(), "taken away or changed: that is a new major version"
    assert offered - pinned == set(), "new: decided on? then add it to v1.txt"


if __name__ == "__main__":
    print(*sorted(surface(json.load(sys.stdin))), sep="\n")
