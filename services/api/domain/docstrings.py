"""What the docstring of an ask says, for the OpenAPI document: nothing is written twice. Pure."""

from __future__ import annotations

import inspect
import re
from typing import Any

from bus.message import Ask
from schemas.operation import Operation

_SLUG = re.compile(r"(?<![\w-])[a-z]+(?:-[a-z]+)+(?![\w-])")


def told(operation: Operation) -> tuple[str, dict[str, str]]:
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


def refused(ask: type[Ask[Any]]) -> tuple[str, ...]:
    """The slugs that the ask's docstring names behind `Refused`, without what it says of them in
    parentheses."""
    said = (inspect.getdoc(ask) or "") if ask.__dict__.get("__doc__") else ""
    _, _, named = said.partition("Refused")
    return tuple(dict.fromkeys(_SLUG.findall(re.sub(r"\([^)]*\)", "", named))))
