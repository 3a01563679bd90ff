"""A bucket's settings as `name=value`, the way people write them and are shown them.

The names come from the contract: `capture`, `sampling`, and with a dot what stands together, such as
`redaction.mode`. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from schemas.identity import BucketSettings
from services.cli import exits
from services.cli.exits import Trouble
from services.cli.selection import seconds

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG])(i?)B?")
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3}


def known() -> dict[str, Any]:
    """The settings' names, name and notes included, and the type of each."""
    found: dict[str, Any] = {"name": str}
    for field in msgspec.structs.fields(BucketSettings):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            for inner in msgspec.structs.fields(field.type):
                found[f"{field.name}.{inner.name}"] = inner.type
        else:
            found[field.name] = field.type
    return found


def read(words: Iterable[str]) -> dict[str, Any]:
    """From `capture=strict`, `retention.max_age_s=30d`, `allowed_hosts=a.example,b.example` to values by the
    names, dots included. Raises Trouble."""
    types = known()
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if name not in types:
            said = f"there is no setting {name!r}" if equals else f"{word!r} is no setting: write name=value"
            raise Trouble(
                said,
                remedy=f"There are: {', '.join(types)}.",
                exit_code=exits.USAGE,
                slug="setting-unknown",
            )
        if not equals:
            raise Trouble(f"{name} has no value", remedy=f"Write {name}=VALUE.", exit_code=exits.USAGE)
        if name in found:
            raise Trouble(f"{name} is given twice", remedy="Give it once.", exit_code=exits.USAGE)
        found[name] = _value(name, text, types[name])
    return found


def nested(values: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """As the API takes them. What stands together is given whole there: the rest of it is taken from `now`,
    the bucket as it is."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if not dot:
            found[name] = value
            continue
        found.setdefault(outer, dict(now.get(outer) or {}))[inner] = value
    return found


def shown(bucket: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each setting of a bucket of the API, and its value as `read` takes it."""
    found = []
    for name in known():
        outer, dot, inner = name.partition(".")
        value = bucket.get(outer)
        if dot:
            value = value.get(inner) if isinstance(value, dict) else None
        found.append((name, _text(value)))
    return found


def _value(name: str, text: str, kind: Any) -> Any:
    if kind is str:
        return text
    if text == "none" and type(None) in get_args(kind):
        return None
    if _is_list(kind):
        return _list(name, text)
    size = _SIZE.fullmatch(text.strip())
    if name.endswith("_bytes") and size is not None:
        text = str(int(float(size[1]) * (1024 if size[3] else 1000) ** _POWERS[size[2]]))
    elif name.endswith("_s"):
        text = str(seconds(text, name))
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Trouble(
            f"{name}={text}: {str(error)[:1].lower()}{str(error)[1:]}",
            remedy=_remedy(kind),
            exit_code=exits.USAGE,
            slug="setting-invalid",
        ) from error


def _list(name: str, text: str) -> list[str]:
    """`a,b`, or JSON where a value holds a comma."""
    if not text.startswith("["):
        return [each.strip() for each in text.split(",") if each.strip()]
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError as error:
        raise Trouble(
            f"{name}: a list that begins with [ is JSON, and this is none: {error}",
            remedy=f'Write {name}=a,b or \'{name}=["a", "b"]\'.',
            exit_code=exits.USAGE,
            slug="setting-invalid",
        ) from error


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _remedy(kind: Any) -> str:
    if kind is bool:
        return "Write true or false."
    choices = [each for each in get_args(kind) if isinstance(each, str)]
    if choices:
        return f"Write one of: {', '.join(choices)}."
    return "Write a number, or none." if type(None) in get_args(kind) else "Write a number."


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        plain = all("," not in each and not each.startswith("[") and each.strip() == each for each in value)
        return ",".join(value) if plain else json.dumps(value, ensure_ascii=False)
    return str(value)
