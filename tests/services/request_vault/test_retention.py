"""Which rules hold: given what identity decided and what the installation keeps, at a moment."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bus.message import Fact
from schemas.identity import BucketChanged, BucketCreated, BucketDeleted, Retention, TokenRevoked
from services.request_vault.domain.recording import to_us
from services.request_vault.domain.retention import Kept, Rule, days_kept, fold, rules
from tests.services.request_vault.samples import START, event_of

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
DAY_S = 86_400
NOW = START + timedelta(days=30)


def folded(*facts: Fact) -> dict[str, Kept]:
    """Each a day after the one before, from START on."""
    buckets: dict[str, Kept] = {}
    for day, fact in enumerate(facts):
        fold(buckets, event_of(fact, f"e-{day}", source="identity", at_s=day * DAY_S))
    return buckets


def of(bucket: str, found: list[Rule]) -> list[tuple[str, str, int]]:
    return [(rule.reason, rule.by, rule.limit) for rule in found if rule.bucket == bucket]


DELETED_CALLS = ("deleted", "deleted_before_us", to_us(NOW - timedelta(days=1)))


def test_without_limits_only_deleted_calls_go_a_day_later() -> None:
    found = rules(folded(BucketCreated(A, "a", "default")), Retention(), NOW)
    assert of(A, found) == of("_", found) == [DELETED_CALLS]
    assert len(found) == 2


def test_each_limit_is_a_rule_of_its_own_and_the_installations_come_last() -> None:
    limits = Retention(3 * DAY_S, 100, 5000)
    found = rules(
        folded(
            BucketCreated(B, "b", "default", retention=Retention(max_calls=7)),
            BucketCreated(A, "a", "default", retention=limits),
        ),
        Retention(max_bytes=9),
        NOW,
    )
    assert [rule.bucket for rule in found] == [A] * 4 + [B] * 2 + ["_"] * 2
    assert of(A, found) == [
        DELETED_CALLS,
        ("age", "before_us", to_us(NOW - timedelta(days=3))),
        ("count", "keep_calls", 100),
        ("bytes", "keep_bytes", 5000),
    ]
    assert of(B, found)[1:] == [("count", "keep_calls", 7)]
    assert of("_", found)[1:] == [("bytes", "keep_bytes", 9)]


def test_a_change_takes_the_place_of_what_was_before() -> None:
    buckets = folded(
        BucketCreated(A, "a", "default", retention=Retention(max_calls=7)),
        TokenRevoked("t-1"),
        BucketChanged(A, "a", body_cap_bytes=1024, retention=Retention(max_bytes=8)),
    )
    assert buckets == {A: Kept(Retention(max_bytes=8))}


def test_what_a_deleted_bucket_held_goes_a_week_later() -> None:
    buckets = folded(BucketCreated(A, "a", "default", retention=Retention(max_calls=7)), BucketDeleted(A))
    at = START + timedelta(days=1)
    before = of(A, rules(buckets, Retention(), at + timedelta(days=7, seconds=-1)))
    assert [reason for reason, *_ in before] == ["deleted", "count"]
    due = at + timedelta(days=7)
    assert of(A, rules(buckets, Retention(), due))[-1] == ("deleted", "before_us", to_us(due))


def test_a_bucket_that_is_made_again_is_kept_again() -> None:
    buckets = folded(BucketCreated(A, "a", "default"), BucketDeleted(A), BucketCreated(A, "a", "default"))
    assert of(A, rules(buckets, Retention(), NOW)) == [DELETED_CALLS]


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_no_age_is_too_long(max_age_s: int) -> None:
    (_, rule) = rules({}, Retention(max_age_s), NOW)
    assert 0 <= rule.limit < to_us(NOW)


def test_an_engine_is_told_in_whole_days_when_something_has_gone() -> None:
    buckets = folded(
        BucketCreated(A, "a", "default", retention=Retention(max_age_s=DAY_S + 1)),
        BucketCreated(B, "b", "default", retention=Retention(max_calls=7)),
    )
    assert days_kept(buckets, Retention()) == {A: 2, B: None}
    assert days_kept(buckets, Retention(max_age_s=DAY_S)) == {A: 1, B: 1}
