"""What identity decides about buckets: given what happened, when a command comes, then these facts or this
no."""

from __future__ import annotations

from collections.abc import Callable
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
    BucketGuarded,
    BucketRekeyed,
    DeleteBucket,
    PatchBucket,
    PutBucket,
    Redaction,
    Retention,
    RotateBucketKey,
)
from schemas.identity.state import SETTINGS, State, evolve
from schemas.operation import ROLE_SCOPES
from services.calls.address import is_key
from services.identity.domain import buckets as domain
from services.identity.domain.refusing import No

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "7xzcnsgbwox2"
OTHER = "k2xzcnsgbwox"
DIGEST = "ab" * 32
PUT = PutBucket("c1", "shop", key=KEY)
CREATED = BucketCreated(KEY, "shop", "default")
EDITOR = tuple(sorted(ROLE_SCOPES["editor"]))
Decide = Callable[[], tuple[Fact, ...]]
EVERYTHING: dict[str, Any] = {
    "capture": "strict",
    "body_cap_bytes": 2048,
    "retention": Retention(86_400, 1000, 10**9),
    "sampling": 0.25,
    "redaction": Redaction("strict", ("x-internal",), ("$.card.number",), ("[0-9]{16}",)),
    "verify_tls": False,
    "allowed_hosts": ("api.example.com", "*.example.org", "192.0.2.1", "2001:db8::1"),
    "denied_hosts": ("admin.example.org",),
    "rewrite_location": True,
    "notes": "two\nlines",
}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": " "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"body_cap_bytes": -1}, "body_cap_bytes"),
    ({"body_cap_bytes": 9 * 1024 * 1024}, "body_cap_bytes"),
    ({"retention": Retention(max_age_s=59)}, "retention.max_age_s"),
    ({"retention": Retention(max_age_s=2**60)}, "retention.max_age_s"),
    ({"retention": Retention(max_calls=0)}, "retention.max_calls"),
    ({"retention": Retention(max_bytes=-1)}, "retention.max_bytes"),
    ({"sampling": -0.1}, "sampling"),
    ({"sampling": 1.01}, "sampling"),
    ({"sampling": float("nan")}, "sampling"),
    ({"redaction": Redaction(headers=("no header",))}, "redaction.headers"),
    ({"redaction": Redaction(paths=("no path",))}, "redaction.paths"),
    ({"redaction": Redaction(patterns=("(",))}, "redaction.patterns"),
    ({"redaction": Redaction(patterns=("a" * 5000,))}, "redaction.patterns"),
    ({"allowed_hosts": ("https://example.com",)}, "allowed_hosts"),
    ({"allowed_hosts": ("*",)}, "allowed_hosts"),
    ({"allowed_hosts": ("a.*.example.com",)}, "allowed_hosts"),
    ({"denied_hosts": ("",)}, "denied_hosts"),
    ({"denied_hosts": ("a" * 300,)}, "denied_hosts"),
    ({"denied_hosts": tuple(f"h{n}.example" for n in range(101))}, "denied_hosts"),
    ({"notes": "x" * 4001}, "notes"),
    ({"notes": "a\0b"}, "notes"),
    ({"notes": "\x1b]0;owned\x07"}, "notes"),
    ({"notes": "\x9b2J"}, "notes"),
]


def after(*facts: Fact) -> State | None:
    state: State | None = None
    for fact in facts:
        state = evolve(state, fact, NOW)
    return state


def put(state: State | None, taken: bool = False, /, **changes: Any) -> tuple[Fact, ...]:
    return domain.decide_put_bucket(state, msgspec.structs.replace(PUT, **changes), KEY, taken=taken)


def patch(state: State | None, **changes: Any) -> tuple[Fact, ...]:
    return domain.decide_patch_bucket(state, PatchBucket("c", KEY, **changes))


def said_by(caught: pytest.ExceptionInfo[No]) -> tuple[str, str]:
    return caught.value.slug, caught.value.detail


def test_the_examples_are_all_settings() -> None:
    assert set(EVERYTHING) == set(SETTINGS)


def test_a_new_bucket_is_created() -> None:
    assert put(None) == (CREATED,)
    assert put(None, actor="t-1", **EVERYTHING) == (
        BucketCreated(KEY, "shop", "default", "t-1", **EVERYTHING),
    )


def test_putting_the_same_again_decides_nothing() -> None:
    assert put(after(CREATED)) == ()
    assert put(after(BucketCreated(KEY, "shop", "default", **EVERYTHING)), **EVERYTHING) == ()


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_changed_by_put_and_by_patch(name: str) -> None:
    wanted = (BucketChanged(KEY, "shop", **{name: EVERYTHING[name]}),)
    assert put(after(CREATED), **{name: EVERYTHING[name]}) == wanted
    assert patch(after(CREATED), **{name: EVERYTHING[name]}) == wanted


def test_put_resets_what_it_does_not_name_and_patch_leaves_it() -> None:
    changed = after(CREATED, BucketChanged(KEY, "x", **EVERYTHING))
    assert put(changed) == (BucketChanged(KEY, "shop"),)
    assert patch(changed, name="shop") == (BucketChanged(KEY, "shop", **EVERYTHING),)
    assert patch(changed) == ()


@pytest.mark.parametrize(("changes", "field"), WRONG)
def test_a_wrong_value_is_refused_and_its_field_named(changes: dict[str, Any], field: str) -> None:
    for state in (None, after(CREATED)):
        with pytest.raises(No) as caught:
            put(state, **changes)
        assert caught.value.slug == "bucket-invalid"
        assert caught.value.detail.startswith(field)
    with pytest.raises(No) as caught:
        patch(after(CREATED), **changes)
    assert caught.value.slug == "bucket-invalid"
    assert caught.value.detail.startswith(field)


def test_a_team_that_is_no_name_of_one() -> None:
    with pytest.raises(No, match="team"):
        put(None, team="Not A Team")


@pytest.mark.parametrize("key", ["", "short", "7XZCNSGBWOX2", "7xzcnsgbwox2a", "7xzcnsgbwox-"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(No, match="key"):
        domain.decide_put_bucket(None, PUT, key)


def test_a_key_that_is_not_free() -> None:
    with pytest.raises(No, match="not free") as caught:
        put(after(CREATED), team="rivals", name="mine now")
    foreign = said_by(caught)
    with pytest.raises(No, match="not free") as caught:
        put(None, True)
    assert said_by(caught) == foreign, "whose it is and why stays hidden"
    with pytest.raises(No, match="was deleted"):
        put(after(CREATED, BucketDeleted(KEY)))
    with pytest.raises(No) as caught:
        put(after(CREATED, BucketDeleted(KEY)), team="rivals", name="mine now")
    assert said_by(caught) == foreign, "whether it was ever there is its team's to know"


def test_retention_needs_the_right_to_delete() -> None:
    limits = Retention(max_calls=5)
    limited = after(BucketCreated(KEY, "shop", "default", retention=limits))
    for state, changes in (
        (None, {"retention": limits}),
        (after(CREATED), {"retention": limits}),
        (limited, {"retention": Retention()}),
    ):
        with pytest.raises(No) as caught:
            put(state, actor_scopes=EDITOR, **changes)
        assert caught.value.slug == "scope-forbidden"
        assert "data:delete" in caught.value.detail
        assert put(state, actor_scopes=(*EDITOR, "data:delete"), **changes)
    with pytest.raises(No, match="data:delete"):
        patch(after(CREATED), retention=limits, actor_scopes=EDITOR)
    assert patch(limited, name="tea", actor_scopes=EDITOR), "an editor edits beside it"
    assert put(limited, name="tea", retention=limits, actor_scopes=EDITOR)


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_if_match_names_the_version(wrong: int) -> None:
    state = after(CREATED, BucketChanged(KEY, "tea shop"))
    decides: list[Decide] = [
        lambda: put(state, if_version=wrong),
        lambda: patch(state, name="x", if_version=wrong),
        lambda: domain.decide_delete_bucket(state, DeleteBucket("c", KEY, if_version=wrong)),
    ]
    for decide in decides:
        with pytest.raises(No, match="version 2") as caught:
            decide()
        assert caught.value.slug == "bucket-conflict"


def test_with_the_right_version_it_is_done() -> None:
    state = after(CREATED, BucketChanged(KEY, "tea shop"))
    assert put(state, if_version=2)
    assert patch(state, name="x", if_version=2)
    assert domain.decide_delete_bucket(state, DeleteBucket("c", KEY, if_version=2))
    with pytest.raises(No) as caught:
        put(None, if_version=1)
    assert caught.value.slug == "bucket-conflict"
    assert put(None, if_version=0), "only if there is none"


def test_rotating() -> None:
    command = RotateBucketKey("c", KEY, overlap_s=60, actor="t-1")
    assert domain.decide_rotate_key(after(CREATED), command, address=OTHER, now=NOW) == (
        BucketRekeyed(KEY, OTHER, NOW + timedelta(seconds=60), "t-1"),
    )
    for overlap_s in (-1, 30 * 86_400 + 1):
        with pytest.raises(No, match="overlap_s"):
            domain.decide_rotate_key(
                after(CREATED),
                msgspec.structs.replace(command, overlap_s=overlap_s),
                address=OTHER,
                now=NOW,
            )


def test_rotating_gives_no_address_of_another_bucket_and_keeps_only_so_many() -> None:
    command = RotateBucketKey("c", KEY, overlap_s=60)
    with pytest.raises(No, match="not free"):
        domain.decide_rotate_key(after(CREATED), command, address=OTHER, now=NOW, taken=True)
    ends_at = NOW + timedelta(seconds=60)
    rotated = (BucketRekeyed(KEY, f"{number:012}", ends_at) for number in range(domain.MAX_FORMER))
    state = after(CREATED, *rotated)
    with pytest.raises(No, match="overlap_s"):
        domain.decide_rotate_key(state, command, address=OTHER, now=NOW)
    assert domain.decide_rotate_key(state, command, address=OTHER, now=ends_at)
    at_once = msgspec.structs.replace(command, overlap_s=0)
    assert domain.decide_rotate_key(state, at_once, address=OTHER, now=NOW)


def test_guarding() -> None:
    assert domain.decide_guard(after(CREATED), KEY, "default", DIGEST, "t-1") == (
        BucketGuarded(KEY, DIGEST, "t-1"),
    )
    guarded = after(CREATED, BucketGuarded(KEY, DIGEST))
    assert domain.decide_guard(guarded, KEY, "default", DIGEST, "t-1") == ()
    assert domain.decide_guard(guarded, KEY, "default", "", "t-1") == (BucketGuarded(KEY, "", "t-1"),)
    assert domain.decide_guard(after(CREATED), KEY, "default", "", "") == ()


@pytest.mark.parametrize(
    "state", [None, after(CREATED, BucketDeleted(KEY)), after(BucketCreated(KEY, "theirs", "rivals"))]
)
def test_what_never_was_what_is_gone_and_what_is_another_teams_are_unknown_alike(state: State | None) -> None:
    decides: list[Decide] = [
        lambda: domain.decide_delete_bucket(state, DeleteBucket("c", KEY, "default")),
        lambda: patch(state, name="x"),
        lambda: domain.decide_rotate_key(state, RotateBucketKey("c", KEY), address=OTHER, now=NOW),
        lambda: domain.decide_guard(state, KEY, "default", DIGEST, ""),
    ]
    for decide in decides:
        with pytest.raises(No) as caught:
            decide()
        assert said_by(caught) == ("bucket-unknown", f"there is no bucket '{KEY}'")


def test_deleting() -> None:
    assert domain.decide_delete_bucket(after(CREATED), DeleteBucket("c", KEY, actor="t-1")) == (
        BucketDeleted(KEY, "t-1"),
    )


def test_a_bucket_is_shown_without_the_addresses_that_have_ended() -> None:
    state = after(CREATED, BucketRekeyed(KEY, OTHER, NOW + timedelta(seconds=60)))
    assert state is not None
    assert state.bucket is not None
    bucket = state.bucket.bucket
    assert [each.address for each in domain.shown(bucket, NOW).former_addresses] == [KEY]
    assert domain.shown(bucket, NOW + timedelta(seconds=60)).former_addresses == ()


@given(st.text(max_size=60), st.sampled_from(["bucket", "address"]))
def test_a_key_from_a_command_is_a_key_and_always_the_same(command_id: str, purpose: str) -> None:
    key = domain.key_from(command_id, purpose)
    assert is_key(key)
    assert key == domain.key_from(command_id, purpose)


@given(
    st.lists(
        st.builds(
            PutBucket,
            command_id=st.just("c"),
            name=st.sampled_from(["a", "b"]),
            key=st.just(KEY),
            capture=st.sampled_from(["relaxed", "strict", "off"]),
            body_cap_bytes=st.sampled_from([0, 5]),
            notes=st.sampled_from(["", "x"]),
        ),
        min_size=1,
    )
)
def test_after_a_put_the_bucket_is_as_it_was_put_and_a_repeat_does_nothing(commands: list[PutBucket]) -> None:
    state: State | None = None
    for command in commands:
        for fact in domain.decide_put_bucket(state, command, KEY):
            state = evolve(state, fact, NOW)
        assert state is not None
        bucket = state.living_bucket
        assert bucket is not None
        assert (bucket.name, domain.settings_of(bucket)) == (command.name, domain.settings_of(command))
        assert domain.decide_put_bucket(state, command, KEY) == ()
