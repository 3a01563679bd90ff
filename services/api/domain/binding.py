"""From path, query and body to an ask, checked field by field.

Made once for each operation, at start. Everything a client may give wrongly ends in `Invalid`, which names
the field; nothing else is raised.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from bus.message import Ask
from schemas.operation import Operation

FILLED = frozenset(
    (
        "command_id",
        "team",
        "actor",
        "session",
        "actor_scopes",
        "allowed_buckets",
        "visible_keys",
        "if_version",
        "client_address",
    )
)
"""Fields that the edge fills in and no client may give (see `schemas.operation`)."""

Where = Literal["path", "query", "body"]

_IN_BRACES = re.compile(r"{(\w+)}")
_NO_SECONDS = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?=[Zz]|[+-]\d\d:\d\d)")
_AT = " - at `$"
"""What msgspec puts between a reason and the path to the value, which ends in a backtick."""


class Invalid(Exception):
    """A field that cannot be taken. unknown: it does not exist; `known` lists those that do. broken: the body
    as a whole is no JSON."""

    def __init__(
        self, where: Where, field: str, reason: str, *, known: Iterable[str] = (), broken: bool = False
    ) -> None:
        super().__init__(reason)
        self.where: Where = where
        self.field = field
        self.reason = reason
        self.known = tuple(known)
        self.broken = broken


class Binding:
    """How the requests of one operation become its asks. without: fields of the ask that this route does not
    take. Raises ValueError when the operation does not fit its ask."""

    def __init__(self, operation: Operation, *, without: Iterable[str] = ()) -> None:
        hidden = FILLED.union(without, operation.hidden)
        fields = {field.encode_name: field for field in msgspec.structs.fields(operation.ask)}
        names = tuple(_IN_BRACES.findall(operation.path))
        for name in (*names, *([operation.bucket] if operation.bucket else [])):
            if name not in fields or name in hidden:
                ask = operation.ask.__name__
                raise ValueError(f"{operation.method} {operation.path}: {ask} has no field {name!r} for it")
        self.operation = operation
        self.filled = tuple(name for name in fields if name in FILLED)
        self.path = {name: fields[name] for name in names}
        self.inputs = {
            name: field for name, field in fields.items() if name not in names and name not in hidden
        }
        self.from_query = operation.method in ("GET", "DELETE")

    def bind(
        self,
        path: Mapping[str, str],
        query: Iterable[tuple[str, str]],
        body: bytes,
        filled: Mapping[str, Any],
    ) -> Ask[Any]:
        """The ask. filled: values for `self.filled`. Raises Invalid."""
        values = {name: filled[name] for name in self.filled}
        for name, field in self.path.items():
            values[field.name] = _converted("path", name, path[name], field, strict=False)
        given = self._from_query(query) if self.from_query else self._from_body(query, body)
        where: Where = "query" if self.from_query else "body"
        for name, value in given.items():
            known = self.inputs.get(name)
            if known is None:
                what = "parameter" if where == "query" else "field"
                raise Invalid(where, name, f"there is no {what} of this name", known=self.inputs)
            values[known.name] = _converted(where, name, value, known, strict=not self.from_query)
        for name, field in self.inputs.items():
            if field.required and field.name not in values:
                raise Invalid(where, name, "it is required")
        self._check_travels(where, values)
        return self.operation.ask(**values)

    def _check_travels(self, where: Where, values: Mapping[str, Any]) -> None:
        """JSON knows numbers and strings that the bus's encoding does not."""
        for name, field in (*self.path.items(), *self.inputs.items()):
            try:
                msgspec.msgpack.encode(values.get(field.name))
            except (OverflowError, UnicodeError, TypeError, ValueError, RecursionError) as error:
                at: Where = "path" if name in self.path else where
                raise Invalid(at, name, "its value is out of range") from error

    def _from_query(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Lists are given as `a,b` or by repeating the parameter; anything else is given once."""
        given: dict[str, Any] = {}
        for name, text in query:
            field = self.inputs.get(name)
            if field is not None and is_list(field.type):
                given.setdefault(name, []).extend(text.split(","))
            elif name in given:
                raise Invalid("query", name, "it is given more than once")
            else:
                given[name] = text
        return given

    def _from_body(self, query: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
        for name, _ in query:
            raise Invalid("query", name, "this operation takes its input as a JSON body")
        if not body.strip():
            return {}
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid("body", "", f"it is no JSON: {error}", broken=True) from error
        if not isinstance(document, dict):
            raise Invalid("body", "", "it is not a JSON object", broken=True)
        return document


def is_list(kind: Any) -> bool:
    """Whether a field's type is a list of some kind, perhaps optional."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(is_list(one) for one in get_args(kind))
    if origin is Annotated:
        return is_list(get_args(kind)[0])
    return kind in (list, tuple, set, frozenset) or origin in (list, tuple, set, frozenset)


def is_time(kind: Any) -> bool:
    """Whether a field's type is a time, perhaps optional."""
    return kind is datetime or datetime in get_args(kind)


def _converted(where: Where, name: str, value: Any, field: msgspec.structs.FieldInfo, *, strict: bool) -> Any:
    if where != "body" and isinstance(value, str) and is_time(field.type):
        value = _NO_SECONDS.sub(r"\g<0>:00", value)  # ISO 8601 lets them be left out, and people do
    try:
        converted = msgspec.convert(value, field.type, strict=strict)
    except (msgspec.ValidationError, OverflowError, ValueError, RecursionError) as error:
        reason, _, at = str(error).partition(_AT)
        raise Invalid(where, name + at.removesuffix("`"), reason[:1].lower() + reason[1:]) from error
    if isinstance(converted, datetime) and converted.tzinfo is None:
        raise Invalid(where, name, "it is a time without a zone: write 2026-01-31T12:00:00Z")
    return converted
