"""The OpenAPI 3.1 document: made from the operations' own types, and from descriptions of the routes that are
written by hand.

Nothing about an operation is written twice: parameters, bodies and replies are the fields of its structs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from schemas.operation import Scope, sealed_in
from services.api.domain.answers import PROBLEM, conditions, headers, responses
from services.api.domain.binding import Binding, is_list
from services.api.domain.docstrings import refused, told

_REF = "#/components/schemas/{name}"


class Described(msgspec.Struct, frozen=True):
    """A route, as the document tells it. tag: whose it is. parameters: besides, or
    instead of, those of the binding. answers: media type -> schema type, or a JSON schema. refused: slugs of
    the service's refusals."""

    operation_id: str
    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    scope: Scope = "public"
    binding: Binding | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    answers: tuple[tuple[str, Any], ...] = ()
    refused: tuple[str, ...] = ()


def described(service: str, binding: Binding) -> Described:
    """An operation's route."""
    operation = binding.operation
    return Described(
        operation_id=operation.ask.__name__[:1].lower() + operation.ask.__name__[1:],
        method=operation.method,
        path=operation.path,
        tag=service,
        summary=operation.summary,
        description=told(operation)[0],
        scope=operation.scope,
        binding=binding,
        answers=(("application/json", operation.ask.reply_type()),),
        refused=refused(operation.ask),
    )


def document(routes: Sequence[Described], *, version: str, prefix: str) -> dict[str, Any]:
    """The whole document. prefix: what stands before every path."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    for info, schema in zip(msgspec.inspect.multi_type_info(types), schemas, strict=True):
        _name_times(info, schema, components, set())
    _name_secrets(routes, components)
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
            "schemas": {**components, "Problem": PROBLEM},
            "headers": headers(),
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
    binding, public = route.binding, route.scope == "public"
    content: dict[str, Any] = {}
    for media, kind in route.answers:
        schema = kind if isinstance(kind, dict) else known[_key(kind)]
        other = content.get(media)
        content[media] = {"schema": schema if other is None else {"anyOf": [other["schema"], schema]}}
    tagged = any(not isinstance(answer, dict) for _, answer in route.answers) and (
        route.method == "GET" or (route.method == "PATCH" and _has_version(route))
    )
    versioned = binding is not None and "if_version" in binding.operation.ask.__struct_fields__
    own = {(parameter["in"], parameter["name"]) for parameter in route.parameters}
    asked = () if binding is None else _parameters(binding, known)
    parameters = [
        *(each for each in asked if (each["in"], each["name"]) not in own),
        *route.parameters,
        *conditions(route.method, tagged=tagged, versioned=versioned),
    ]
    answer: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "x-scope": route.scope,
        "parameters": parameters,
    }
    if binding is not None and not binding.from_query:
        answer["requestBody"] = _body(binding, known)
    if public:
        answer["security"] = []
    else:
        needs = "Needs a token." if route.scope == "signed-in" else f"Needs the scope `{route.scope}`."
        answer["description"] = f"{route.description}\n\n{needs}".strip()
    answer["responses"] = responses(
        content,
        public=public,
        method=route.method,
        tagged=tagged,
        body="requestBody" in answer,
        path="{" in route.path,
        refused=route.refused,
    )
    return answer


def _has_version(route: Described) -> bool:
    return any("version" in getattr(answer, "__struct_fields__", ()) for _, answer in route.answers)


def _name_secrets(routes: Iterable[Described], components: dict[str, Any]) -> None:
    """Secrets in replies are for reading only, and shown once."""
    for route in routes:
        for _, answer in route.answers:
            if not isinstance(answer, dict) and hasattr(answer, "TYPE"):
                for name in sealed_in(answer):
                    field = components[answer.__name__]["properties"][name]
                    field |= {"readOnly": True, "format": "password"}


def _parameters(binding: Binding, known: dict[Any, Any]) -> list[dict[str, Any]]:
    said = told(binding.operation)[1]
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
    said = told(binding.operation)[1]
    secret = sealed_in(binding.operation.ask)
    properties = {
        name: _with_default(known[_key(field.type)], field)
        | ({"description": said[name]} if name in said else {})
        | ({"writeOnly": True, "format": "password"} if field.name in secret else {})
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
