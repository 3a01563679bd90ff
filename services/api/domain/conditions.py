"""Entity tags and the conditions that requests put on them (RFC 9110, 8.8.3 and 13.1). Pure.

A reply that has a `version` is tagged `"v<version>"`, any other by the hash of its bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

MAX_TAGS = 32
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_VERSION = re.compile(r'"v(0|[1-9][0-9]{0,17})"')


class Tags(msgspec.Struct, frozen=True):
    """What If-Match or If-None-Match lists. anything: it is `*`. strong, weak: opaque tags, quotes included,
    the weak ones without their `W/`."""

    anything: bool = False
    strong: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()

    def holds_strongly(self, tag: str) -> bool:
        """If-Match: a weak tag matches nothing (RFC 9110, 8.8.3.2)."""
        return self.anything or tag in self.strong

    def holds_weakly(self, tag: str) -> bool:
        """If-None-Match: weak or not is all the same."""
        return self.anything or tag in self.strong or tag in self.weak

    def versions(self) -> tuple[int, ...]:
        """The versions that the strong tags name, in their order; other tags are of nothing that has one."""
        found = (_VERSION.fullmatch(tag) for tag in self.strong)
        return tuple(dict.fromkeys(int(match[1]) for match in found if match is not None))


def read_tags(values: Sequence[str]) -> Tags | None:
    """The tags of a header's lines, None without one. Raises ValueError, which says what is wrong."""
    if not values:
        return None
    text = ", ".join(values).strip(" \t")
    if text == "*":
        return Tags(anything=True)
    strong: list[str] = []
    weak: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in ", \t":  # empty elements are passed over (RFC 9110, 5.6.1.2)
            at += 1
            continue
        match = _TAG.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] not in ", \t"):
            raise ValueError("it is `*`, or entity tags in quotes with commas between them")
        (weak if match[1] else strong).append(match[2])
        at = match.end()
        if len(strong) + len(weak) > MAX_TAGS:
            raise ValueError(f"it lists more than {MAX_TAGS} entity tags")
    if not strong and not weak:
        raise ValueError("it lists no entity tag")
    return Tags(strong=tuple(strong), weak=tuple(weak))


def tag_of(reply: Any, body: bytes) -> str:
    """The strong tag of a reply; body: its bytes as they are sent."""
    version = getattr(reply, "version", None)
    return f'"v{version}"' if isinstance(version, int) else f'"{hashlib.sha256(body).hexdigest()[:32]}"'
