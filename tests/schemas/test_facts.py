"""Every fact that is published has one encoded example per version in tests/golden/facts, never edited: what
is in a log today must be readable for ever. A field that changes its place or meaning needs a new VERSION and
a new example; a field that is added, with a default, changes what is written, and gets its example under a
new name beside the old one.

`python -m tests.schemas.test_facts` writes the examples that are missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from bus.message import Fact
from bus.parking import EventDiscarded, EventParked, EventRedriven
from schemas.api import TokenUsed
from schemas.identity import (
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    BucketGuarded,
    BucketRekeyed,
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    PasswordRehashed,
    PasswordSet,
    PersonInvited,
    Redaction,
    Retention,
    SessionClosed,
    SessionOpened,
    TeamCreated,
    TeamDeleted,
    TeamJoined,
    TeamRenamed,
    TokenCreated,
    TokenRenamed,
    TokenRevoked,
    TokenRotated,
)
from schemas.request_vault import (
    BodyChunk,
    CallAnnotated,
    CallDeleted,
    CallRestored,
    CallsErased,
    CallsExpired,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
    ErasureFinished,
    ErasureOrdered,
)
from schemas.traffic_gateway import (
    Body,
    CallCaptured,
    CallError,
    CapturedRequest,
    CapturedResponse,
    CapturesLost,
    Masked,
    Timings,
)
from services import catalog

GOLDEN = Path(__file__).parents[1] / "golden" / "facts"
MOMENT = datetime(2026, 1, 31, 12, 30, 15, 250_000, tzinfo=UTC)
BUCKET = "7xzcnsgbwox2"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

CALL = CallCaptured(
    id="019c1360-1d62-7000-8000-000000000001",
    bucket=BUCKET,
    started_at=MOMENT,
    duration_ms=12.5,
    request=CapturedRequest(
        "POST",
        "https://api.example.com/orders?x=1",
        "1.1",
        (("Host", "api.example.com"), ("Content-Type", "application/json")),
        Body(size_bytes=4, captured_bytes=4, sha256=SHA256, inline=b"test", decoded=True),
    ),
    response=CapturedResponse(
        201,
        "Created",
        "1.1",
        (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
        Body(size_bytes=2_000_000, captured_bytes=1_048_576, sha256=SHA256, truncated=True, form="websocket"),
    ),
    error=CallError("upstream-disconnected", "the answer broke off"),
    timings=Timings(dns_ms=0.5, connect_ms=1.0, tls_ms=2.0, send_ms=0.25, wait_ms=8.0, receive_ms=0.75),
    status_sent=201,
    client_address="127.0.0.1",
    server_address="192.0.2.1:443",
    origin="replay",
    replay_of="019c1360-1d62-7000-8000-000000000000",
    strict=True,
    redacted=(
        Masked("request.header", "cookie", "cookie"),
        Masked("response.body", "jwt", "", 3),
    ),
)
EXAMPLES: tuple[Fact, ...] = (
    CALL,
    CapturesLost(BUCKET, 17, MOMENT),
    BucketCreated(
        BUCKET,
        "orders",
        "default",
        "t-1",
        capture="strict",
        body_cap_bytes=2048,
        retention=Retention(86_400, 1000, 10**9),
        sampling=0.25,
        redaction=Redaction("strict", ("x-internal",), ("$.card.number",), ("[0-9]{16}",)),
        verify_tls=False,
        allowed_hosts=("api.example.com", "*.example.org"),
        denied_hosts=("admin.example.org",),
        rewrite_location=True,
        notes="what the shop orders",
    ),
    BucketChanged(
        BUCKET,
        "all orders",
        "p-1",
        capture="off",
        body_cap_bytes=4096,
        retention=Retention(max_calls=5),
        sampling=0.5,
        redaction=Redaction("raw"),
        verify_tls=False,
        allowed_hosts=("api.example.com",),
        denied_hosts=("admin.example.com",),
        rewrite_location=True,
        notes="moved",
    ),
    BucketRekeyed(BUCKET, "k2xzcnsgbwox", MOMENT, "p-1"),
    BucketGuarded(BUCKET, SHA256, "p-1"),
    BucketDeleted(BUCKET, "p-1"),
    TokenCreated("t-1", "laptop", "default", SHA256, ("calls:read",), (BUCKET,), MOMENT, "p-1"),
    TokenRenamed("t-1", "desktop", "p-1"),
    TokenRotated("t-1", SHA256, MOMENT, "p-1"),
    TokenRevoked("t-1", "p-1"),
    TokenUsed("t-1", MOMENT),
    TeamCreated("shop", "The shop", "t-1"),
    TeamRenamed("shop", "The tea shop", "p-1"),
    TeamDeleted("shop", "p-1"),
    MemberAdded("shop", "p-2", "ann@example.com", "editor", "p-1"),
    MemberChanged("shop", "p-2", "viewer", "p-1"),
    MemberRemoved("shop", "p-2", "p-1"),
    PersonInvited("p-2", "ann@example.com", "shop", SHA256, MOMENT, "p-1", True, "editor"),
    PasswordSet("p-2", "s1.00000000.c2VhbGVk", "s-1", "p-2", "shop", resets=True),
    PasswordRehashed("p-2", "s1.00000000.c2VhbGVk"),
    TeamJoined("p-2", "tea", "p-2"),
    SessionOpened("p-2", "s-1", SHA256, "shop", MOMENT, "192.0.2.7", "p-2"),
    SessionClosed("p-2", "s-1", "p-2", "shop"),
    BodyChunk(BUCKET, SHA256, 1, 3, 600_000, b"piece"),
    EventParked(
        subscription="billing",
        reason="order o-2: negative total",
        attempts=6,
        first_failed_at=MOMENT,
        frame=b"\x92\x01\x90",
        topics=("shop.order.placed.eu",),
        content_type="application/cloudevents-batch+msgpack",
        headers={"cloudEvents:id": "o-2"},
        event_id="o-2",
        event_type="shop.order.placed",
    ),
    EventRedriven("019c1360-1d62-7000-8000-000000000002"),
    EventDiscarded("019c1360-1d62-7000-8000-000000000002", "a test order"),
    CallStarred("c-1", BUCKET, "t-1"),
    CallUnstarred("c-1", BUCKET, "t-1"),
    CallAnnotated("c-1", BUCKET, "look at the total", ("checkout", "slow"), "t-1"),
    CallShared("c-1", BUCKET, "s-1", MOMENT, "t-1"),
    CallUnshared("c-1", BUCKET, "t-1"),
    CallDeleted("c-1", BUCKET, "t-1"),
    CallRestored("c-1", BUCKET, "t-1"),
    CallsExpired(BUCKET, "age", 12, 10, (1, 5), (1, 40)),
    ErasureOrdered("e-1", BUCKET, "subject", "header x-user-id", "asked by the user", "t-1"),
    CallsErased("e-1", BUCKET, ("c-1", "c-2"), "asked by the user", "t-1"),
    ErasureFinished("e-1", BUCKET, 2, 1),
)
CALL_BEFORE = msgspec.structs.replace(
    CALL,
    request=msgspec.structs.replace(
        CALL.request, body=msgspec.structs.replace(CALL.request.body, decoded=False)
    ),
    response=CapturedResponse(
        201,
        "Created",
        "1.1",
        (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
        Body(size_bytes=2_000_000, captured_bytes=1_048_576, sha256=SHA256, truncated=True),
    ),
    redacted=(),
)
# As written before a field was added with a default: read for ever, written no more.
BEFORE: dict[str, Fact] = {
    "identity.bucket.created-1": BucketCreated(
        BUCKET, "orders", "default", capture="strict", body_cap_bytes=2048
    ),
    "identity.bucket.created-1-retention": BucketCreated(
        BUCKET,
        "orders",
        "default",
        capture="strict",
        body_cap_bytes=2048,
        retention=Retention(86_400, 1000, 10**9),
    ),
    "identity.bucket.changed-1": BucketChanged(BUCKET, "all orders", capture="off", body_cap_bytes=4096),
    "identity.bucket.changed-1-retention": BucketChanged(
        BUCKET, "all orders", capture="off", body_cap_bytes=4096, retention=Retention(max_calls=5)
    ),
    "identity.bucket.deleted-1": BucketDeleted(BUCKET),
    "identity.token.created-1": TokenCreated(
        "t-1", "laptop", "default", SHA256, ("calls:read",), (BUCKET,), MOMENT
    ),
    "identity.token.revoked-1": TokenRevoked("t-1"),
    "identity.person.invited-1": PersonInvited(
        "p-2", "ann@example.com", "shop", SHA256, MOMENT, "p-1", resets=True
    ),
    "identity.person.signed_out-1": SessionClosed("p-2", "s-1", "p-2"),
    "traffic.call.captured-1": CALL_BEFORE,
    "traffic.call.captured-1-redacted": msgspec.structs.replace(CALL_BEFORE, redacted=CALL.redacted),
}
NAMES = {
    BucketCreated: "identity.bucket.created-1-settings",
    BucketChanged: "identity.bucket.changed-1-settings",
    BucketDeleted: "identity.bucket.deleted-1-by",
    TokenCreated: "identity.token.created-1-by",
    TokenRevoked: "identity.token.revoked-1-by",
    PersonInvited: "identity.person.invited-1-role",
    SessionClosed: "identity.person.signed_out-1-team",
    CallCaptured: "traffic.call.captured-1-forms",
}


def file_of(fact: Fact) -> Path:
    return GOLDEN / f"{NAMES.get(type(fact), f'{fact.TYPE}-{fact.VERSION}')}.msgpack"


def test_every_fact_has_an_example() -> None:
    published = {*catalog.contracts().facts, EventParked, EventRedriven, EventDiscarded}
    assert {type(example) for example in EXAMPLES} == published
    assert {file_of(example) for example in EXAMPLES} <= set(GOLDEN.iterdir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.TYPE))
def test_what_was_written_is_read(example: Fact) -> None:
    assert msgspec.msgpack.decode(file_of(example).read_bytes(), type=type(example)) == example


@pytest.mark.parametrize("name", BEFORE)
def test_what_was_written_before_a_field_was_added_is_read(name: str) -> None:
    raw = (GOLDEN / f"{name}.msgpack").read_bytes()
    assert msgspec.msgpack.decode(raw, type=type(BEFORE[name])) == BEFORE[name]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.TYPE))
def test_what_is_written_has_not_changed(example: Fact) -> None:
    assert msgspec.msgpack.encode(example) == file_of(example).read_bytes()


if __name__ == "__main__":
    for each in EXAMPLES:
        if not file_of(each).exists():
            file_of(each).write_bytes(msgspec.msgpack.encode(each))
