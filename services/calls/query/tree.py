"""A query as a tree: what its terms mean, and their text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal, get_args

import msgspec

from services.calls.query.units import SCALES
from services.calls.words import Words as Words
from services.calls.words import WordsScope as WordsScope

Operator = Literal["", ">", ">=", "<", "<="]
NumberField = Literal["status", "duration", "size", "request-size"]
TextField = Literal["method", "host", "path", "template", "query", "type", "error", "origin", "tag"]
TimeField = Literal["since", "before"]
Condition = Literal["error", "answered", "starred", "shared"]

WORD_FIELDS = ("header", "body", "url", "note")
FIELDS = (*get_args(NumberField), *get_args(TextField), *get_args(TimeField), "is", *WORD_FIELDS)

_QUOTE_WORTHY = re.compile(r'[\s()"*]|^$|^//')  # host://x would be an address


class Compared(msgspec.Struct, frozen=True):
    """A number of the call beside `value`. duration: microseconds; size (of the response's body) and
    request-size: bytes. A call without a status compares as false. operator: `` for equal, status only."""

    field: NumberField
    operator: Operator
    value: int

    def __str__(self) -> str:
        return f"{self.field}:{self.operator}{_amount(self.value, SCALES.get(self.field))}"


class StatusClass(msgspec.Struct, frozen=True):
    """hundreds: 5 for 5xx."""

    hundreds: int

    def __str__(self) -> str:
        return f"status:{self.hundreds}xx"


class Text(msgspec.Struct, frozen=True):
    """A text of the call. pieces: literal, with any run of characters between one and the next; one piece is
    the whole text. Hosts and types are in lower case; methods are compared in any case (ASCII). template: of
    the path, as `path_template` gives it. tag: one of the call's. A call without such a text (type, error,
    tag) does not match."""

    field: TextField
    pieces: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.pieces) == 1:
            return f"{self.field}:{_quoted(self.pieces[0])}"
        return f"{self.field}:{'*'.join(_quoted(piece) if piece else '' for piece in self.pieces)}"


class Started(msgspec.Struct, frozen=True):
    """When the call started. since: then or later; before: earlier than that. at: in UTC."""

    field: TimeField
    at: datetime

    def __str__(self) -> str:
        return f"{self.field}:{self.at.isoformat().replace('+00:00', 'Z')}"


class Is(msgspec.Struct, frozen=True):
    """error: it failed on its way. answered: a response came. starred, shared: a person marked it so."""

    what: Condition

    def __str__(self) -> str:
        return f"is:{self.what}"


class Not(msgspec.Struct, frozen=True):
    term: Term

    def __str__(self) -> str:
        return f"-({self.term})" if isinstance(self.term, (AllOf, AnyOf)) else f"-{self.term}"


class AllOf(msgspec.Struct, frozen=True):
    """Made by `all_of`. Without terms: every call."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(f"({term})" if isinstance(term, AnyOf) else str(term) for term in self.terms)


class AnyOf(msgspec.Struct, frozen=True):
    """Made by `any_of`."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.terms))


Term = Compared | StatusClass | Text | Words | Started | Is | Not | AllOf | AnyOf


def all_of(terms: Iterable[Term]) -> Term:
    """One term for all of these: flat, and a single one as it is."""
    flat = tuple(one for term in terms for one in (term.terms if isinstance(term, AllOf) else (term,)))
    return flat[0] if len(flat) == 1 else AllOf(flat)


def any_of(terms: Iterable[Term]) -> Term:
    flat = tuple(one for term in terms for one in (term.terms if isinstance(term, AnyOf) else (term,)))
    return flat[0] if len(flat) == 1 else AnyOf(flat)


def negated(term: Term) -> Term:
    return term.term if isinstance(term, Not) else Not(term)


def within(term: Term) -> Iterator[Term]:
    """The terms that a tree is made of, without NOT, AND, OR."""
    match term:
        case AllOf(terms) | AnyOf(terms):
            for each in terms:
                yield from within(each)
        case Not(turned):
            yield from within(turned)
        case _:
            yield term


def _quoted(text: str) -> str:
    if _QUOTE_WORTHY.search(text) is None:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _amount(value: int, scale: dict[str, int] | None) -> str:
    if scale is None:
        return str(value)
    return next(f"{value // unit}{name}" for name, unit in scale.items() if value % unit == 0)
