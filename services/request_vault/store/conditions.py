"""A query's tree as one SQL condition over the table of calls, the same for every engine but for a few words
of its dialect. What the person typed is in the parameters only.

Every condition is true or false, never NULL, so that NOT turns it into exactly the other calls. Texts are
compared by bytes; methods in any case (ASCII). An engine makes a `Conditions` of its own (`filtering`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, assert_never

from services.calls.query import AllOf, AnyOf, Compared, Is, Not, Started, StatusClass, Term, Text, Words
from services.request_vault.domain.calls import after_prefix
from services.request_vault.domain.recording import to_us

_NUMBERS = {"duration": "duration_us", "size": "response_bytes", "request-size": "request_bytes"}
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


class Conditions(ABC):
    """parameters: filled in under names of its own. phrases: those of the text index, with the parameter that
    is to hold the list of their places."""

    STATUS: ClassVar[str] = "status"
    """How the status is named where it is compared."""
    POSITION: ClassVar[str]
    """The function of a text and a part that says where the part begins, 0 for nowhere."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.phrases: dict[Words, str] = {}

    @abstractmethod
    def places(self, name: str) -> str:
        """The call's place is in the list that this parameter holds."""

    @abstractmethod
    def status_class(self, hundreds: int) -> str:
        """Of a call with a status; may be NULL for one without."""

    @abstractmethod
    def tag(self, pieces: tuple[str, ...]) -> str:
        """One of the call's tags is this text."""

    @abstractmethod
    def pattern(self, column: str, pieces: tuple[str, ...]) -> str:
        """The text is these pieces, with anything between them."""

    @abstractmethod
    def method(self, name: str) -> str: ...

    def stored(self, text: str) -> str:
        """The text as the engine keeps it."""
        return text

    def bind(self, value: str | int) -> str:
        """The parameter that holds it, taken as it is: a text is to be `stored`."""
        name = f"q{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def of(self, term: Term) -> str:
        bind = self.bind
        match term:
            case Words(scope="note"):
                phrase = f" {' '.join(term.words)}{'' if term.prefix else ' '}"
                return f"({self.POSITION}(note_words, {bind(self.stored(phrase))}) > 0)"
            case Words():
                return f"({self.places(self.phrases.setdefault(term, f't{len(self.phrases)}'))})"
            case AllOf(terms):
                return f"({' AND '.join(map(self.of, terms)) or 'true'})"
            case AnyOf(terms):
                return f"({' OR '.join(map(self.of, terms))})"
            case Not(turned):
                return f"(NOT {self.of(turned)})"
            case Compared(field, operator, value):
                column = self.STATUS if field == "status" else _NUMBERS[field]
                return f"coalesce({column} {_OPERATORS[operator]} {bind(value)}, false)"
            case StatusClass(hundreds):
                return f"coalesce({self.status_class(hundreds)}, false)"
            case Started("since", at):
                return f"(started_us >= {bind(to_us(at))})"
            case Started(_, at):
                return f"(started_us < {bind(to_us(at))})"
            case Is(what):
                return _CONDITIONS[what]
            case Text("tag", pieces):
                return f"({self.tag(pieces)})"
            case Text("method", pieces):
                return f"({self.method(pieces[0])})"
            case Text(field, pieces):
                return f"coalesce({self.text(_TEXTS[field], pieces)}, false)"
            case _:
                assert_never(term)

    def text(self, column: str, pieces: tuple[str, ...]) -> str:
        match pieces:
            case (whole,):
                return f"{column} = {self.bind(self.stored(whole))}"
            case (prefix, ""):
                least = self.stored(prefix)
                below = after_prefix(least)
                if below is None:
                    return f"{column} >= {self.bind(least)}"
                return f"{column} >= {self.bind(least)} AND {column} < {self.bind(below)}"
        return self.pattern(column, pieces)
