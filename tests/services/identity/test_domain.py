"""What identity decides: given what happened, when a command comes, then these facts or this no."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.message import Fact
from schemas.identity import (
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    CreateToken,
    DeleteBucket,
    PutBucket,
    RevokeToken,
    TokenCreated,
    TokenRevoked,
)
from services.calls.address import is_key
from services.identity import domain
from services.identity.domain import No, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "7xzcnsgbwox2"
DIGEST = hashlib.sha256(b"tl_secret").hexdigest()
PUT = PutBucket("c1", "shop", key=KEY)
CREATE = CreateToken("c1", "laptop", DIGEST, ("calls:read",))
CREATED = BucketCreated(KEY, "shop", "default")
TOKEN = TokenCreated("t1", "laptop", "default", DIGEST, ("calls:read",))


def after(*facts: Fact) -> State | None:
    state: State | None = None
    for fact in facts:
        state = domain.evolve(state, fact, NOW)
    return state


def put(state: State | None, **changes: Any) -> tuple[Fact, ...]:
    return domain.decide_put_bucket(state, msgspec.structs.replace(PUT, **changes), KEY)


def create(state: State | None, **changes: Any) -> tuple[Fact, ...]:
    command = msgspec.structs.replace(CREATE, **changes)
    return domain.decide_create_token(state, command, "t1", buckets=[KEY], now=NOW)


def test_a_new_bucket_is_created() -> None:
    assert put(None) == (CREATED,)


def test_putting_the_same_again_decides_nothing() -> None:
    assert put(after(CREATED)) == ()


def test_putting_other_settings_changes_them() -> None:
    assert put(after(CREATED), capture="strict") == (BucketChanged(KEY, "shop", "strict", 1024 * 1024),)


def test_changing_and_changing_back() -> None:
    changed = after(CREATED, BucketChanged(KEY, "x", "off", 3))
    assert put(changed) == (BucketChanged(KEY, "shop", "relaxed", 1024 * 1024),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"team": "Not A Team"}, "team"),
        ({"body_cap_bytes": -1}, "body_cap_bytes"),
        ({"body_cap_bytes": 9 * 1024 * 1024}, "body_cap_bytes"),
    ],
)
def test_a_bucket_that_is_not_valid(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(No, match=said) as caught:
        put(None, **changes)
    assert caught.value.slug == "bucket-invalid"


@pytest.mark.parametrize("key", ["", "short", "7XZCNSGBWOX2", "7xzcnsgbwox2a", "7xzcnsgbwox-"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(No, match="key"):
        domain.decide_put_bucket(None, PUT, key)


def test_a_bucket_of_another_team_is_not_changed() -> None:
    with pytest.raises(No, match="belongs to team"):
        put(after(CREATED), team="rivals", name="mine now")


def test_a_deleted_buckets_key_is_not_given_again() -> None:
    with pytest.raises(No, match="was deleted"):
        put(after(CREATED, BucketDeleted(KEY)))


def test_deleting() -> None:
    assert domain.decide_delete_bucket(after(CREATED), DeleteBucket("c", KEY)) == (BucketDeleted(KEY),)
    for state in (None, after(CREATED, BucketDeleted(KEY))):
        with pytest.raises(No) as caught:
            domain.decide_delete_bucket(state, DeleteBucket("c", KEY))
        assert caught.value.slug == "bucket-unknown"


def test_a_new_token_is_created() -> None:
    assert create(None) == (TOKEN,)
    assert create(None, buckets=(KEY,)) == (msgspec.structs.replace(TOKEN, buckets=(KEY,)),)


def test_the_same_token_again_decides_nothing_even_when_it_has_expired() -> None:
    expires_at = NOW - timedelta(days=1)
    made = msgspec.structs.replace(TOKEN, expires_at=expires_at)
    assert create(after(TOKEN)) == ()
    assert create(after(made), expires_at=expires_at) == ()


def test_another_token_by_the_same_command_is_refused() -> None:
    with pytest.raises(No, match="another token"):
        create(after(TOKEN), name="desktop")
    with pytest.raises(No, match="revoked"):
        create(after(TOKEN, TokenRevoked("t1")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name"),
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": DIGEST.upper()}, "sha256"),
        ({"scopes": ()}, "at least one scope"),
        ({"scopes": ("calls:read", "calls:raed")}, "'calls:raed'"),
        ({"buckets": ("nobodysbuckt",)}, "has no bucket 'nobodysbuckt'"),
        ({"buckets": tuple(f"bucket{n:06}" for n in range(101))}, "at most 100"),
        ({"expires_at": NOW}, "in the past"),
        ({"expires_at": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the fault
    ],
)
def test_a_token_that_is_not_valid(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(No, match=said) as caught:
        create(None, **changes)
    assert caught.value.slug == "token-invalid"


def test_revoking_once_and_again() -> None:
    assert domain.decide_revoke_token(after(TOKEN), RevokeToken("c", "t1")) == (TokenRevoked("t1"),)
    assert domain.decide_revoke_token(after(TOKEN, TokenRevoked("t1")), RevokeToken("c", "t1")) == ()
    with pytest.raises(No) as caught:
        domain.decide_revoke_token(None, RevokeToken("c", "t1"))
    assert caught.value.slug == "token-unknown"


def test_an_answered_token_holds_neither_secret_nor_hash() -> None:
    state = after(TOKEN)
    assert state is not None
    assert state.token is not None
    answered = domain.token_of(state.token)
    assert answered.secret is None
    assert DIGEST not in repr(answered)


@given(st.text(max_size=60))
def test_a_key_from_a_command_is_a_key_and_always_the_same(command_id: str) -> None:
    key = domain.key_from(command_id)
    assert is_key(key)
    assert key == domain.key_from(command_id)


@given(
    st.lists(
        st.builds(
            PutBucket,
            command_id=st.just("c"),
            name=st.sampled_from(["a", "b"]),
            key=st.just(KEY),
            capture=st.sampled_from(["relaxed", "strict", "off"]),
            body_cap_bytes=st.sampled_from([0, 5]),
        ),
        min_size=1,
    )
)
def test_after_a_put_the_bucket_is_as_it_was_put_and_a_repeat_does_nothing(commands: list[PutBucket]) -> None:
    state: State | None = None
    for command in commands:
        for fact in domain.decide_put_bucket(state, command, KEY):
            state = domain.evolve(state, fact, NOW)
        assert state is not None
        bucket = state.living_bucket
        assert bucket is not None
        assert (bucket.name, bucket.capture, bucket.body_cap_bytes) == (
            command.name,
            command.capture,
            command.body_cap_bytes,
        )
        assert domain.decide_put_bucket(state, command, KEY) == ()
