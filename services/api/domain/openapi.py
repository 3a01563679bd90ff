"""The OpenAPI 3.1 document: made from the operations' own types, and from descriptions of the routes that are
written by hand.

Nothing about an operation is written twice: parameters, bodies and replies are the fields of its structs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from schemas.operation import Operation
from services.api.domain.binding import Binding, is_list

_REF = "#/components/schemas/{name}"
_PROBLEM_REF = "#/components/schemas/Problem"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457). Further members depend on the type.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "urn:trunkline:error:<slug>"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string", "description": "What to do about it."},
        "request_id": {"type": "string"},
        "field": {"type": "string", "description": "What is at fault in the request."},
        "position": {"type": "integer", "description": "The character of `field` at fault, from 1."},
        "in": {"type": "string", "enum": ["path", "query", "body"]},
        "service": {"type": "string", "description": "Which service does not answer."},
    },
}
_ANSWERS = {
    400: "Something in the request is not valid; `field` names it.",
    401: "The token is missing or not accepted.",
    403: "The token lacks the scope.",
    404: "It does not exist, or not for this token.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    503: "A service that is needed does not answer; `service` names it, Retry-After says when to try again.",
}


class Described(msgspec.Struct, frozen=True):
    """A route, as the document tells it. tag: whose it is. scope: None for what needs no token. parameters:
    besides, or instead of, those of the binding. answers: media type -> schema type, or a JSON schema."""

    operation_id: str
    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    scope: str | None = None
    binding: Binding | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    answers: tuple[tuple[str, Any], ...] = ()


def described(service: str, binding: Binding) -> Described:
    """An operation's route."""
    operation = binding.operation
    return Described(
        operation_id=operation.ask.__name__[:1].lower() + operation.ask.__name__[1:],
        method=operation.method,
        path=operation.path,
        tag=service,
        summary=operation.summary,
        description=_told(operation)[0],
        scope=operation.scope,
        binding=binding,
        answers=(("application/json", operation.ask.reply_type()),),
    )


def document(routes: Sequence[Described], *, version: str, prefix: str) -> dict[str, Any]:
    """The whole document. prefix: what stands before every path."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    for info, schema in zip(msgspec.inspect.multi_type_info(types), schemas, strict=True):
        _name_times(info, schema, components, set())
    known = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(prefix + route.path, {})[route.method.lower()] = _route(route, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": version,
            "summary": "What your APIs really do: captured calls, live and searchable.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token."}
            },
        },
    }


def _name_times(
    info: msgspec.inspect.Type, schema: dict[str, Any], components: dict[str, Any], seen: set[type]
) -> None:
    """Write `format: date-time` wherever a time stands: msgspec leaves it out where its type allows times
    without a zone, which the API does not."""
    match info:
        case msgspec.inspect.DateTimeType():
            for kind in (schema, *schema.get("anyOf", ())):
                if kind.get("type") == "string":
                    kind["format"] = "date-time"
        case msgspec.inspect.UnionType(types=kinds):
            for kind in kinds:
                _name_times(kind, schema, components, seen)
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            _name_times(item, schema.get("items", {}), components, seen)
        case msgspec.inspect.StructType(cls=struct, fields=fields) if struct not in seen:
            seen.add(struct)
            properties = components.get(struct.__name__, {}).get("properties", {})
            for field in fields:
                _name_times(field.type, properties.get(field.encode_name, {}), components, seen)


def _types(routes: Iterable[Described]) -> list[Any]:
    found: dict[Any, Any] = {}
    for route in routes:
        for _, answer in route.answers:
            if not isinstance(answer, dict):
                found[_key(answer)] = answer
        if route.binding is not None:
            fields = (*route.binding.path.values(), *route.binding.inputs.values())
            found.update((_key(field.type), field.type) for field in fields)
    return list(found.values())


def _key(kind: Any) -> Any:
    return kind if isinstance(kind, type) else repr(kind)


def _route(route: Described, known: dict[Any, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": _PROBLEM_REF}}}
    content = {
        media: {"schema": answer if isinstance(answer, dict) else known[_key(answer)]}
        for media, answer in route.answers
    }
    answer: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "parameters": [*route.parameters],
        "responses": {"200": {"description": "Done.", "content": content}},
    }
    if route.scope is None:
        answer["security"] = []
    else:
        answer["x-scope"] = route.scope
        answer["description"] = f"{route.description}\n\nNeeds the scope `{route.scope}`.".strip()
    binding = route.binding
    if binding is not None:
        own = {(parameter["in"], parameter["name"]) for parameter in route.parameters}
        asked = (each for each in _parameters(binding, known) if (each["in"], each["name"]) not in own)
        answer["parameters"] = [*asked, *route.parameters]
        if not binding.from_query:
            answer["requestBody"] = _body(binding, known)
    for status, meaning in _ANSWERS.items():
        if (status in (401, 403) and route.scope is None) or (
            status in (413, 415) and "requestBody" not in answer
        ):
            continue
        answer["responses"][str(status)] = {"description": meaning, "content": problem}
    answer["responses"]["default"] = {"description": "Any other failure.", "content": problem}
    return answer


def _told(operation: Operation) -> tuple[str, dict[str, str]]:
    """What the ask's own docstring tells of the operation, and of each field: `limit: 1 to 500.` or
    `method, host: exact.` An inherited docstring says nothing of it."""
    said: dict[str, str] = {}
    about: list[str] = []
    if not operation.ask.__dict__.get("__doc__"):
        return "", said
    fields = set(operation.ask.__struct_encode_fields__)
    for paragraph in (inspect.getdoc(operation.ask) or "").split("\n\n"):
        before, *found = re.split(
            r"(?:^|(?<=\. ))((?:\w+(?: \([^)]*\))?, )*\w+(?: \([^)]*\))?): ", " ".join(paragraph.split())
        )
        prose = [before]
        for names, meaning in zip(found[::2], found[1::2], strict=True):
            each = [name.partition(" ")[0] for name in names.split(", ")]
            if fields.issuperset(each):
                said |= dict.fromkeys(each, meaning.strip())
            else:
                prose.append(f"{names}: {meaning}")
        about.append("".join(prose).strip())
    return "\n\n".join(text for text in about if text), said


def _parameters(binding: Binding, known: dict[Any, Any]) -> list[dict[str, Any]]:
    said = _told(binding.operation)[1]
    answer: list[dict[str, Any]] = []
    for name, field in binding.path.items():
        answer.append({"name": name, "in": "path", "required": True, "schema": known[_key(field.type)]})
        if name in said:
            answer[-1]["description"] = said[name]
    for name, field in binding.inputs.items() if binding.from_query else ():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": field.required}
        parameter["schema"] = _with_default(_without_null(known[_key(field.type)]), field)
        if name in said:
            parameter["description"] = said[name]
        if is_list(field.type):
            parameter |= {"style": "form", "explode": False}
        answer.append(parameter)
    return answer


def _body(binding: Binding, known: dict[Any, Any]) -> dict[str, Any]:
    required = [name for name, field in binding.inputs.items() if field.required]
    said = _told(binding.operation)[1]
    properties = {
        name: _with_default(known[_key(field.type)], field)
        | ({"description": said[name]} if name in said else {})
        for name, field in binding.inputs.items()
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """In a query, nothing stands for null: a parameter is left out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    return kinds[0] if len(kinds) == 1 else {**schema, "anyOf": kinds}


def _with_default(schema: dict[str, Any], field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    if field.default is msgspec.NODEFAULT or field.default is None:
        return schema
    return {**schema, "default": msgspec.to_builtins(field.default)}
