"""Whether a name says that its value is secret. Remembers its answers, since names repeat."""

from __future__ import annotations

import re
from typing import TypeVar

from services.calls.redaction.escapes import unescaped_json, unescaped_percent
from services.calls.redaction.hints import shared_hints
from services.calls.redaction.rules import (
    PUBLIC_ENDS,
    SECRET_ENDS,
    SECRET_HEADERS,
    SECRET_NAMES,
    SECRET_PARAMETERS,
)

MAX_REMEMBERED = 4096
MAX_REMEMBERED_BYTES = 128
"""Of one name. What is longer is judged each time: names come from outside, and may be megabytes."""
UNTOLD = "..."
"""Recorded for a name that must not be: too long, or with a secret in it."""

Name = TypeVar("Name", str, bytes)
Answer = TypeVar("Answer")

_OTHERS = bytes(byte for byte in range(256) if not (byte < 128 and chr(byte).isalnum()))
_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_PLAIN = re.compile(rb"[A-Za-z0-9_.$\[\] -]{1,64}")


def fold(name: bytes) -> bytes:
    """`apikey` of `API_KEY`, `api-key` and `apiKey`."""
    return name.translate(_LOWER, _OTHERS)


class Names:
    """Each answer is what the record calls the name, or None when its value is not secret."""

    __slots__ = ("_headers", "_parameters", "_rules", "keys")

    def __init__(self, headers: tuple[str, ...] = ()) -> None:
        """headers: a bucket's, beside the built-in ones."""
        self._rules = {name.lower() for name in headers}
        self.keys: dict[bytes, str | None] = {}
        self._parameters: dict[bytes, str | None] = {}
        self._headers: dict[str, tuple[str, str] | None] = {}

    def key(self, escaped: bytes) -> str | None:
        """A JSON key, as it stands between its quotes. Callers in a hurry look into `keys` first."""
        name = unescaped_json(escaped).text if b"\\" in escaped else escaped
        answer = _told(name) if _is_secret(fold(name)) else None
        _remember(self.keys, escaped, answer)
        return answer

    def parameter(self, escaped: bytes) -> str | None:
        """The name of a query's parameter or of a form's field, percent-encoded or not."""
        try:
            return self._parameters[escaped]
        except KeyError:
            pass
        name = unescaped_percent(escaped).text
        folded = fold(name)
        answer = _told(name) if folded in SECRET_PARAMETERS or _is_secret(folded) else None
        _remember(self._parameters, escaped, answer)
        return answer

    def header(self, name: str) -> tuple[str, str] | None:
        """The rule and what the record calls the header, None when its value is not secret."""
        try:
            return self._headers[name]
        except KeyError:
            pass
        lower = name.lower()
        rule = ""
        if lower in self._rules:
            rule = "bucket-header"
        elif lower in ("cookie", "set-cookie"):
            rule = "cookie"
        elif lower in SECRET_HEADERS or _is_secret(fold(lower.encode("utf-8", "replace"))):
            rule = "header"
        answer = (rule, _told(lower.encode("utf-8", "replace"))) if rule else None
        _remember(self._headers, name, answer)
        return answer


def _remember(answers: dict[Name, Answer], name: Name, answer: Answer) -> None:
    if len(name) > MAX_REMEMBERED_BYTES:
        return
    if len(answers) >= MAX_REMEMBERED:
        answers.clear()
    answers[name] = answer


def _is_secret(folded: bytes) -> bool:
    if folded in SECRET_NAMES:
        return True
    word = folded.rstrip(b"0123456789")  # password2
    return (word.endswith(SECRET_ENDS) or word in SECRET_NAMES) and not word.endswith(PUBLIC_ENDS)


def _told(name: bytes) -> str:
    if _PLAIN.fullmatch(name) is None or shared_hints().formats(name):
        return UNTOLD
    return name.decode("ascii")
