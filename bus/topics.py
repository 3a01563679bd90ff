"""Topics and topic patterns: pure functions, with RabbitMQ's meaning on every transport.

A topic is dotted words; an event's is `<type>.<key>`. A pattern is dotted words too, in which `*` stands for
exactly one word and `#` for zero or more. Called by the publisher (checks), the embedded broker (routing) and
the subscriber (which of a batch's events are mine).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from bus.errors import TopicInvalid

NO_KEY = "_"
MAX_TOPIC_BYTES = 255  # AMQP 0-9-1 short string

_TYPE = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PATTERN_WORD = re.compile(r"[A-Za-z0-9_-]+|\*|#")


def topic_of(type: str, key: str = NO_KEY) -> str:
    """`<type>.<key>`, checked. Raises TopicInvalid."""
    check_topic(type, key)
    return f"{type}.{key}"


@lru_cache(maxsize=16_384)
def check_topic(type: str, key: str) -> None:
    """Raises TopicInvalid unless type and key make a topic. Remembers good answers: topics repeat."""
    check_type(type)
    if not _KEY.fullmatch(key):
        raise TopicInvalid(f"key {key[:80]!r} is not one word of letters, digits, '_' and '-'")
    length = len(type) + 1 + len(key)
    if length > MAX_TOPIC_BYTES:
        raise TopicInvalid(
            f"topic {type[:40]}...{key[-20:]} has {length} bytes; the limit is {MAX_TOPIC_BYTES}"
        )


def check_type(type: str) -> None:
    """Raises TopicInvalid unless `type` is at least two dotted lower-case words."""
    if not _TYPE.fullmatch(type):
        raise TopicInvalid(f"type {type[:80]!r} is not dotted lower-case words such as 'shop.order.placed'")


def check_pattern(pattern: str) -> None:
    """Raises TopicInvalid, naming the word at fault, unless `pattern` is a topic pattern."""
    if len(pattern.encode(errors="replace")) > MAX_TOPIC_BYTES:
        raise TopicInvalid(f"pattern {pattern[:60]!r}... is longer than {MAX_TOPIC_BYTES} bytes")
    for word in pattern.split("."):
        if not _PATTERN_WORD.fullmatch(word):
            what = "an empty word" if not word else f"{word[:80]!r}"
            raise TopicInvalid(
                f"pattern {pattern!r} is no topic pattern: {what}; '*' and '#' stand alone between dots"
            )


def matches(pattern: str, topic: str) -> bool:
    """Whether `topic` is one that `pattern` means. At most len(pattern) x len(topic) steps, whatever the
    pattern."""
    want, have = _words(pattern), topic.split(".")
    at_want = at_have = 0
    hash_at = -1  # where the last '#' stands in the pattern, and how much of the topic it has taken so far
    taken_to = 0
    while at_have < len(have):
        if at_want < len(want) and want[at_want] == "#":
            hash_at, taken_to = at_want, at_have
            at_want += 1
        elif at_want < len(want) and want[at_want] in ("*", have[at_have]):
            at_want += 1
            at_have += 1
        elif hash_at >= 0:
            taken_to += 1
            at_want, at_have = hash_at + 1, taken_to
        else:
            return False
    return all(word == "#" for word in want[at_want:])


class Matcher:
    """Any of several patterns, with a bounded memory of answers: topics repeat, patterns do not change."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        for pattern in self.patterns:
            check_pattern(pattern)
        self._everything = "#" in self.patterns
        self._known: dict[str, bool] = {}

    def __call__(self, topic: str) -> bool:
        if self._everything:
            return True
        answer = self._known.get(topic)
        if answer is None:
            if len(self._known) >= 10_000:
                self._known.clear()
            answer = self._known[topic] = any(matches(pattern, topic) for pattern in self.patterns)
        return answer


@lru_cache(maxsize=4096)
def _words(pattern: str) -> tuple[str, ...]:
    check_pattern(pattern)
    return tuple(pattern.split("."))
