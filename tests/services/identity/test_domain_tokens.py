"""What identity decides about tokens: given what happened, when a command comes, then these facts or this
no."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bus.message import Fact
from schemas.identity import (
    CreateToken,
    RenameToken,
    RevokeToken,
    RotateToken,
    TokenCreated,
    TokenRenamed,
    TokenRevoked,
    TokenRotated,
)
from schemas.identity.state import State, evolve
from services.identity.domain import tokens as domain
from services.identity.domain.refusing import No

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "7xzcnsgbwox2"
OTHER = "k2xzcnsgbwox"
DIGEST = hashlib.sha256(b"tl_secret").hexdigest()
DIGEST_2 = hashlib.sha256(b"tl_second").hexdigest()
CREATE = CreateToken("c1", "laptop", ("calls:read",), DIGEST)
TOKEN = TokenCreated("t1", "laptop", "default", DIGEST, ("calls:read",))


def after(*facts: Fact) -> State | None:
    state: State | None = None
    for fact in facts:
        state = evolve(state, fact, NOW)
    return state


def create(state: State | None, **changes: Any) -> tuple[Fact, ...]:
    command = msgspec.structs.replace(CREATE, **changes)
    return domain.decide_create_token(state, command, "t1", buckets=[KEY, OTHER], now=NOW)


def rotate(state: State | None, **changes: Any) -> tuple[Fact, ...]:
    command = msgspec.structs.replace(RotateToken("c2", "t1"), **changes)
    return domain.decide_rotate_token(state, command, sha256=DIGEST_2, now=NOW)


def test_a_new_token_is_created() -> None:
    assert create(None) == (TOKEN,)
    assert create(None, buckets=(KEY,), actor="p-1", expires_at=NOW + timedelta(days=1)) == (
        msgspec.structs.replace(TOKEN, buckets=(KEY,), by="p-1", expires_at=NOW + timedelta(days=1)),
    )


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
    with pytest.raises(No, match="another secret"):
        create(after(TOKEN, TokenRotated("t1", DIGEST_2, NOW)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name"),
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": DIGEST.upper()}, "sha256"),
        ({"scopes": ()}, "^scopes: .*at least one"),
        ({"scopes": ("calls:read", "calls:raed")}, "^scopes: .*'calls:raed'"),
        ({"scopes": ("public",)}, "^scopes: .*'public'"),
        ({"scopes": ("calls:read",) * 1000}, "^scopes: .*twice"),
        ({"buckets": (KEY, KEY)}, "^buckets: .*twice"),
        ({"buckets": ("nobodysbuckt",)}, "^buckets: .*has no bucket 'nobodysbuckt'"),
        ({"buckets": tuple(f"bucket{n:06}" for n in range(101))}, "^buckets: .*at most 100"),
        ({"expires_at": NOW}, "^expires_at .*in the past"),
        ({"expires_at": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the fault
    ],
)
def test_a_token_that_is_not_valid(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(No, match=said) as caught:
        create(None, **changes)
    assert caught.value.slug == "token-invalid"


def test_nobody_gives_away_more_scopes_than_they_have() -> None:
    assert create(None, actor_scopes=("calls:read", "tokens:write"))
    with pytest.raises(No) as caught:
        create(None, scopes=("calls:read", "installation"), actor_scopes=("calls:read", "tokens:write"))
    assert caught.value.slug == "scope-forbidden"
    assert "installation" in caught.value.detail


def test_nobody_gives_away_more_buckets_than_they_have() -> None:
    assert create(None, buckets=(KEY,), allowed_buckets=(KEY,))
    for buckets in ((), (OTHER,), (KEY, OTHER)):
        with pytest.raises(No) as caught:
            create(None, buckets=buckets, allowed_buckets=(KEY,))
        assert caught.value.slug == "scope-forbidden"


def test_renaming() -> None:
    assert domain.decide_rename_token(after(TOKEN), RenameToken("c", "t1", "desktop", actor="p-1")) == (
        TokenRenamed("t1", "desktop", "p-1"),
    )
    assert domain.decide_rename_token(after(TOKEN), RenameToken("c", "t1", "laptop")) == ()
    with pytest.raises(No, match="name"):
        domain.decide_rename_token(after(TOKEN), RenameToken("c", "t1", ""))


def test_rotating() -> None:
    assert rotate(after(TOKEN), overlap_s=60, actor="p-1") == (
        TokenRotated("t1", DIGEST_2, NOW + timedelta(seconds=60), "p-1"),
    )
    assert rotate(after(TOKEN, TokenRotated("t1", DIGEST_2, NOW))) == ()
    for overlap_s in (-1, 30 * 86_400 + 1):
        with pytest.raises(No, match="overlap_s") as caught:
            rotate(after(TOKEN), overlap_s=overlap_s)
        assert caught.value.slug == "token-invalid"


def test_only_so_many_former_secrets_work_at_a_time() -> None:
    ends_at = NOW + timedelta(seconds=60)
    state = after(TOKEN, *(TokenRotated("t1", f"{n:064}", ends_at) for n in range(domain.MAX_FORMER)))
    with pytest.raises(No, match="overlap_s"):
        rotate(state, overlap_s=60)
    assert rotate(state, overlap_s=0)


def test_the_new_secret_of_a_token_is_only_for_who_may_as_much() -> None:
    mighty = after(msgspec.structs.replace(TOKEN, scopes=("calls:read", "data:delete")))
    with pytest.raises(No) as caught:
        rotate(mighty, actor_scopes=("calls:read", "tokens:write"))
    assert caught.value.slug == "scope-forbidden"
    with pytest.raises(No) as caught:
        rotate(after(TOKEN), allowed_buckets=(KEY,))
    assert caught.value.slug == "scope-forbidden"
    assert rotate(mighty, actor_scopes=("calls:read", "data:delete"))


def test_revoking_once_and_again() -> None:
    assert domain.decide_revoke_token(after(TOKEN), RevokeToken("c", "t1", actor="p-1")) == (
        TokenRevoked("t1", "p-1"),
    )
    assert domain.decide_revoke_token(after(TOKEN, TokenRevoked("t1")), RevokeToken("c", "t1")) == ()


@pytest.mark.parametrize("state", [None, after(msgspec.structs.replace(TOKEN, team="rivals"))])
def test_what_never_was_and_what_is_another_teams_are_unknown_alike(state: State | None) -> None:
    for decide in (
        lambda: domain.decide_revoke_token(state, RevokeToken("c", "t1", team="default")),
        lambda: domain.decide_rename_token(state, RenameToken("c", "t1", "mine")),
        lambda: rotate(state),
        lambda: domain.known(state, "t1", "default"),
    ):
        with pytest.raises(No) as caught:
            decide()
        assert (caught.value.slug, caught.value.detail) == ("token-unknown", "there is no token 't1'")


def test_an_answered_token_holds_neither_secret_nor_hash() -> None:
    ends_at = NOW + timedelta(seconds=60)
    state = after(TOKEN, TokenRotated("t1", DIGEST_2, ends_at))
    assert state is not None
    assert state.token is not None
    answered = domain.token_of(state.token, NOW, NOW)
    assert (answered.secret, answered.last_used_at, answered.overlap_ends_at) == (None, NOW, ends_at)
    assert domain.token_of(state.token, ends_at).overlap_ends_at is None
    assert DIGEST not in repr(answered)
    assert DIGEST_2 not in repr(answered)
