"""Topics and patterns, against an oracle that follows the definition word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import topics
from bus.errors import Malformed, TopicInvalid

WORDS = st.sampled_from(["a", "b", "c", "call", "captured-1", "_"])
TOPICS = st.lists(WORDS, min_size=1, max_size=7).map(".".join)
PATTERNS = st.lists(WORDS | st.sampled_from(["*", "#"]), min_size=1, max_size=7).map(".".join)


def naive(pattern: list[str], topic: list[str]) -> bool:
    """The definition: `*` is one word, `#` is any number of words."""
    if not pattern:
        return not topic
    if pattern[0] == "#":
        return any(naive(pattern[1:], topic[taken:]) for taken in range(len(topic) + 1))
    return bool(topic) and pattern[0] in ("*", topic[0]) and naive(pattern[1:], topic[1:])


@given(PATTERNS, TOPICS)
def test_matches_as_the_definition_says(pattern: str, topic: str) -> None:
    assert topics.matches(pattern, topic) == naive(pattern.split("."), topic.split("."))


@given(st.lists(PATTERNS, min_size=1, max_size=4), st.lists(TOPICS, min_size=1, max_size=5))
def test_a_matcher_is_any_of_its_patterns_however_often_it_is_asked(
    patterns: list[str], asked: list[str]
) -> None:
    matcher = topics.Matcher(patterns)
    for topic in asked + asked:
        assert matcher(topic) == any(naive(each.split("."), topic.split(".")) for each in patterns)


@pytest.mark.parametrize(
    ("pattern", "topic", "answer"),
    [
        ("#", "traffic.call.captured.k", True),
        ("traffic.#", "traffic", True),
        ("traffic.call.captured.*", "traffic.call.captured.k", True),
        ("traffic.call.captured.*", "traffic.call.captured", False),
        ("*.call.#", "traffic.call", True),
        ("#.captured.#", "traffic.call.captured.k", True),
        ("#.#", "a", True),
        ("a.#.b.#.c", "a.b.b.x.c", True),
        ("traffic", "traffic.call", False),
        ("Traffic.#", "traffic.call", False),
    ],
)
def test_examples(pattern: str, topic: str, answer: bool) -> None:
    assert topics.matches(pattern, topic) is answer


def test_a_pattern_full_of_hashes_takes_no_exponential_time() -> None:
    pattern = ".".join(["#", "a"] * 60)
    assert not topics.matches(pattern, ".".join(["a"] * 120 + ["b"]))


@pytest.mark.parametrize(
    "pattern", ["", ".", "a..b", "a.b*", "*#", "a b", "a.#b", "ä.#", "a.", "\ud800", "a\n"]
)
def test_what_is_no_pattern_is_named(pattern: str) -> None:
    with pytest.raises(TopicInvalid, match="pattern"):
        topics.check_pattern(pattern)
    with pytest.raises(TopicInvalid):
        topics.matches(pattern, "a.b")
    with pytest.raises(TopicInvalid):
        topics.Matcher(["a.#", pattern])


def test_a_pattern_has_a_length_limit() -> None:
    topics.check_pattern("a" * 255)
    with pytest.raises(TopicInvalid, match="longer than 255"):
        topics.check_pattern("a" * 256)


@pytest.mark.parametrize("type", ["", "call", "a.", ".a", "A.b", "a.b c", "a.*", "a.#", "a.b\n", "ä.b"])
def test_what_is_no_type_is_refused(type: str) -> None:
    with pytest.raises(TopicInvalid, match="type"):
        topics.check_type(type)


@pytest.mark.parametrize("key", ["", "a.b", "*", "#", "a b", "k\n", "ü", "\ud800"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(TopicInvalid, match="key"):
        topics.topic_of("shop.order.placed", key)


def test_a_topic_has_at_most_255_bytes() -> None:
    type = "shop.order.placed"
    longest = "k" * (255 - len(type) - 1)
    assert len(topics.topic_of(type, longest)) == 255
    with pytest.raises(TopicInvalid, match="300 bytes; the limit is 255"):
        topics.topic_of(type, "k" * (300 - len(type) - 1))


def test_an_invalid_topic_is_malformed_and_a_value_error() -> None:
    assert issubclass(TopicInvalid, Malformed)
    assert issubclass(TopicInvalid, ValueError)


def test_no_key_is_an_underscore() -> None:
    assert topics.topic_of("shop.order.placed") == "shop.order.placed._"


def test_a_matcher_remembers_a_bounded_number_of_topics() -> None:
    matcher = topics.Matcher(["a.*"])
    for number in range(20_005):
        assert matcher(f"a.{number}")
    assert len(matcher._known) <= 10_000
