"""A query's tree as one SQL condition over the table of calls. What the person typed is in the parameters
only.

Every condition is true or false, never NULL, so that NOT turns it into exactly the other calls.
"""

from __future__ import annotations

from typing import Any, assert_never

from services.calls.query import AllOf, AnyOf, Compared, Is, Not, Started, StatusClass, Term, Text
from services.request_vault.domain.calls import after_prefix
from services.request_vault.domain.recording import to_us

# The plus keeps SQLite from putting a constant into the `status / 100` of an index, which would hide it.
_NUMBERS = {
    "status": "+status",
    "duration": "duration_us",
    "size": "response_bytes",
    "request-size": "request_bytes",
}
_TEXTS = {
    "method": "method",
    "host": "host",
    "path": "path",
    "query": "query",
    "type": "content_type",
    "error": "error",
    "origin": "origin",
}
_OPERATORS = {"": "=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_GLOB_LITERAL = str.maketrans({"[": "[[]", "?": "[?]", "*": "[*]"})


def condition_of(term: Term, parameters: dict[str, Any]) -> str:
    """The condition, over parameters that are put into `parameters` under names of its own."""

    def bind(value: str | int) -> str:
        name = f"q{len(parameters)}"
        parameters[name] = value
        return f":{name}"

    match term:
        case AllOf(terms):
            return f"({' AND '.join(condition_of(each, parameters) for each in terms) or 'true'})"
        case AnyOf(terms):
            return f"({' OR '.join(condition_of(each, parameters) for each in terms)})"
        case Not(turned):
            return f"(NOT {condition_of(turned, parameters)})"
        case Compared(field, operator, value):
            return f"coalesce({_NUMBERS[field]} {_OPERATORS[operator]} {bind(value)}, false)"
        case StatusClass(hundreds):
            return f"coalesce(status / 100 = {bind(hundreds)}, false)"
        case Started("since", at):
            return f"(started_us >= {bind(to_us(at))})"
        case Started(_, at):
            return f"(started_us < {bind(to_us(at))})"
        case Is("error"):
            return "(error IS NOT NULL)"
        case Is(_):
            return "(status IS NOT NULL)"
        case Text(field, (whole,)):
            return f"coalesce({_TEXTS[field]} = {bind(whole)}, false)"
        case Text(field, (prefix, "")):
            column, following = _TEXTS[field], after_prefix(prefix)
            below = "true" if following is None else f"{column} < {bind(following)}"
            return f"coalesce({column} >= {bind(prefix)} AND {below}, false)"
        case Text(field, pieces):
            # GLOB gives up on a star once what follows it was not found: stars cost no more than their number
            # times the text's length. It sees a text up to its first NUL.
            pattern = "*".join(piece.translate(_GLOB_LITERAL) for piece in pieces)
            return f"coalesce({_TEXTS[field]} GLOB {bind(pattern)}, false)"
        case _:
            assert_never(term)
