"""What a person looks for in the words of calls, and what it means: the plain and slow truth that every
engine is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from services.calls.words.indexing import Indexed

WordsScope = Literal["any", "url", "header", "body", "note"]


class Words(msgspec.Struct, frozen=True):
    """A phrase: these words side by side, as `words` gives them; with `prefix` the last is the beginning of a
    word.

    scope: any: in the URL, a header (its name and value) or a body. name: with the scope header, the
    canonical name of the header whose value holds the phrase; ("",) with `prefix` is any word there. note: in
    the note that a person left at the call.
    """

    scope: WordsScope
    name: str | None
    words: tuple[str, ...]
    prefix: bool = False

    def __str__(self) -> str:
        named = "" if self.name is None else f".{self.name.replace('_', '-')}"
        field = "" if self.scope == "any" else f"{self.scope}{named}:"
        phrase = " ".join(self.words)
        quoted = f'"{phrase}"' if len(self.words) > 1 else phrase
        return f"{field}{quoted}{'*' if self.prefix else ''}"


def matches(call: Indexed, term: Words) -> bool:
    """Whether the words of a call hold the phrase. False for the scope note: a note is no part of a call."""
    return any(holds(text, term) for text in _searched(call, term))


def holds(text: Sequence[str], term: Words) -> bool:
    """Whether the phrase, whatever its scope, stands in the words of one text."""
    *whole, last = term.words
    for start in range(len(text) - len(whole)):
        end = start + len(whole)
        if list(text[start:end]) == whole and (
            text[end] == last or (term.prefix and text[end].startswith(last))
        ):
            return True
    return False


def _searched(call: Indexed, term: Words) -> list[list[str]]:
    match term.scope:
        case "any":
            return [*call.url, *call.headers, *call.bodies]
        case "url":
            return call.url
        case "header" if term.name is None:
            return call.headers
        case "header":
            return [text for name, text in call.named if name == term.name]
        case "body":
            return call.bodies
        case "note":
            return []
