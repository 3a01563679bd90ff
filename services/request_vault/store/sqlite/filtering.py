"""A query's tree as one SQL condition over the table of calls. What the person typed is in the parameters
only.

Every condition is true or false, never NULL, so that NOT turns it into exactly the other calls.
"""

from __future__ import annotations

from typing import Any, assert_never

from services.calls.query import AllOf, AnyOf, Compared, Is, Not, Started, StatusClass, Term, Text, Words
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
    "template": "template",
    "query": "query",
    "type": "content_type",
    "error": "error",
    "origin": "origin",
}
_CONDITIONS = {
    "error": "(error IS NOT NULL)",
    "answered": "(status IS NOT NULL)",
    "starred": "(starred = 1)",
    "shared": "(share IS NOT NULL)",
}
_OPERATORS = {"": "=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_GLOB_LITERAL = str.maketrans({"[": "[[]", "?": "[?]", "*": "[*]"})


class Conditions:
    """parameters: filled in under names of its own. phrases: those of the text index, with the parameter that
    is to hold the list of their places."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.phrases: dict[Words, str] = {}

    def bind(self, value: str | int) -> str:
        name = f"q{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def of(self, term: Term) -> str:
        bind = self.bind
        match term:
            case Words(scope="note"):
                phrase = f" {' '.join(term.words)}{'' if term.prefix else ' '}"
                return f"(instr(note_words, {bind(phrase)}) > 0)"
            case Words():
                name = self.phrases.setdefault(term, f"t{len(self.phrases)}")
                return f"(w_place IN (SELECT value FROM json_each(:{name})))"
            case AllOf(terms):
                return f"({' AND '.join(map(self.of, terms)) or 'true'})"
            case AnyOf(terms):
                return f"({' OR '.join(map(self.of, terms))})"
            case Not(turned):
                return f"(NOT {self.of(turned)})"
            case Compared(field, operator, value):
                return f"coalesce({_NUMBERS[field]} {_OPERATORS[operator]} {bind(value)}, false)"
            case StatusClass(hundreds):
                return f"coalesce(status / 100 = {bind(hundreds)}, false)"
            case Started("since", at):
                return f"(started_us >= {bind(to_us(at))})"
            case Started(_, at):
                return f"(started_us < {bind(to_us(at))})"
            case Is(what):
                return _CONDITIONS[what]
            case Text("tag", pieces):
                return f"EXISTS (SELECT 1 FROM json_each(tags) t WHERE {self._text('t.value', pieces)})"
            case Text(field, pieces):
                return f"coalesce({self._text(_TEXTS[field], pieces)}, false)"
            case _:
                assert_never(term)

    def _text(self, column: str, pieces: tuple[str, ...]) -> str:
        match pieces:
            case (whole,):
                return f"{column} = {self.bind(whole)}"
            case (prefix, ""):
                below = after_prefix(prefix)
                if below is None:
                    return f"{column} >= {self.bind(prefix)}"
                return f"{column} >= {self.bind(prefix)} AND {column} < {self.bind(below)}"
        # GLOB gives up on a star once what follows it was not found: stars cost no more than their number
        # times the text's length. It sees a text up to its first NUL.
        pattern = "*".join(piece.translate(_GLOB_LITERAL) for piece in pieces)
        return f"{column} GLOB {self.bind(pattern)}"
