"""A query's tree as one SQL condition over the table of calls. What the person typed is in the parameters
only.

Every condition is true or false, never NULL, so that NOT turns it into exactly the other calls. Texts are
compared by bytes; methods in any case (ASCII). No condition has the form of an index: which one is walked,
`walking` chooses.
"""

from __future__ import annotations

from typing import Any, assert_never

from services.calls.query import AllOf, AnyOf, Compared, Is, Not, Started, StatusClass, Term, Text, Words
from services.request_vault.domain.calls import after_prefix
from services.request_vault.domain.recording import to_us
from services.request_vault.store.postgres.rows import stored

_NUMBERS = {
    "status": "status",
    "duration": "duration_us",
    "size": "response_bytes",
    "request-size": "request_bytes",
}
_TEXTS = {
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
_LITERAL = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


class Conditions:
    """parameters: filled in under names of its own. phrases: those of the text index, with the parameter that
    is to hold the list of their places."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.phrases: dict[Words, str] = {}

    def bind(self, value: str | int) -> str:
        """A text is bound as it is `stored`."""
        name = f"q{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def of(self, term: Term) -> str:
        bind = self.bind
        match term:
            case Words(scope="note"):
                phrase = f" {' '.join(term.words)}{'' if term.prefix else ' '}"
                return f"(strpos(note_words, {bind(stored(phrase))}) > 0)"
            case Words():
                name = self.phrases.setdefault(term, f"t{len(self.phrases)}")
                return f"(c.place = ANY (:{name}))"
            case AllOf(terms):
                return f"({' AND '.join(map(self.of, terms)) or 'true'})"
            case AnyOf(terms):
                return f"({' OR '.join(map(self.of, terms))})"
            case Not(turned):
                return f"(NOT {self.of(turned)})"
            case Compared(field, operator, value):
                return f"coalesce({_NUMBERS[field]} {_OPERATORS[operator]} {bind(value)}, false)"
            case StatusClass(hundreds):
                least = hundreds * 100
                return f"coalesce(status >= {bind(least)} AND status < {bind(least + 100)}, false)"
            case Started("since", at):
                return f"(started_us >= {bind(to_us(at))})"
            case Started(_, at):
                return f"(started_us < {bind(to_us(at))})"
            case Is(what):
                return _CONDITIONS[what]
            case Text("tag", pieces):
                return f"EXISTS (SELECT FROM unnest(tags) t (tag) WHERE {self.text('t.tag', pieces)})"
            case Text("method", pieces):
                return f"({self.method(pieces[0])})"
            case Text(field, pieces):
                return f"coalesce({self.text(_TEXTS[field], pieces)}, false)"
            case _:
                assert_never(term)

    def method(self, name: str) -> str:
        return f'lower(method) = lower({self.bind(stored(name))} COLLATE "C")'

    def text(self, column: str, pieces: tuple[str, ...]) -> str:
        match pieces:
            case (whole,):
                return f"{column} = {self.bind(stored(whole))}"
            case (prefix, ""):
                least = stored(prefix)
                below = after_prefix(least)
                if below is None:
                    return f"{column} >= {self.bind(least)}"
                return f"{column} >= {self.bind(least)} AND {column} < {self.bind(below)}"
        # LIKE gives up on a star once what follows it was not found: stars cost no more than their number
        # times the text's length.
        pattern = "%".join(stored(piece).translate(_LITERAL) for piece in pieces)
        return f"{column} LIKE {self.bind(pattern)}"
