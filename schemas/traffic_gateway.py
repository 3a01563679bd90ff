"""The traffic gateway's contract: a call was captured.

Read by the vault, statistics, routing and live views. Header names and values are text as received (latin-1,
RFC 9110 5.5), in the order and case of the wire; repeated headers repeat.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Fact, Subscription

Headers = tuple[tuple[str, str], ...]

BodyForm = Literal["plain", "websocket"]
Origin = Literal["gateway", "replay", "import", "bin", "tunnel", "playback"]

INLINE_BODY_BYTES = 16 * 1024


class Body(msgspec.Struct, frozen=True):
    """A body as it was relayed, content codings (gzip, br) untouched, transfer codings removed; what is
    secret in it masked.

    size_bytes: all that was relayed. captured_bytes: what was kept, marks included. truncated: less than all
    was kept. sha256: hex, of the kept bytes.
    inline: the kept bytes when they are at most INLINE_BODY_BYTES; longer ones travel as body chunks under
    their hash. decoded: content codings were undone, because something in it had to be masked. form: `plain`,
    or the messages of a WebSocket, a JSON line each.
    """

    size_bytes: int = 0
    captured_bytes: int = 0
    sha256: str | None = None
    inline: bytes | None = None
    truncated: bool = False
    decoded: bool = False
    form: BodyForm = "plain"


class CapturedRequest(msgspec.Struct, frozen=True):
    """method: as sent. url: absolute, the target's, as it was called, without userinfo. http_version:
    "1.1"."""

    method: str
    url: str
    http_version: str
    headers: Headers
    body: Body


class CapturedResponse(msgspec.Struct, frozen=True):
    status: int
    reason: str
    http_version: str
    headers: Headers
    body: Body


class CallError(msgspec.Struct, frozen=True):
    """What kept a call from being answered whole.

    slug: dns-failed, connect-refused, connect-timeout, tls-failed, upstream-timeout, upstream-disconnected,
    upstream-malformed, target-refused (by policy), host-refused (by the bucket), client-disconnected,
    gateway-failed; of a playback, playback-unknown, playback-impossible, playback-truncated, playback-gone,
    playback-unavailable, or that of the call it was to play.
    """

    slug: str
    detail: str


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds of each phase; None when the phase did not happen (a reused connection has no dns,
    connect, tls)."""

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    send_ms: float | None = None
    wait_ms: float | None = None
    receive_ms: float | None = None


MaskedWhere = Literal[
    "request.url",
    "request.header",
    "request.body",
    "response.header",
    "response.body",
]


class Masked(msgspec.Struct, frozen=True):
    """What one redaction rule masked in one place of a call.

    rule: `strict`, or the kind of secret, as its mark `[redacted:<kind>:<8 hex>]` names it (docs/redaction.md
    lists them); `bucket-header`, `bucket-path` and `bucket-pattern` are the bucket's own; `failed`: masking
    did, so all of it was dropped, and name tells how. name: what told that it is one: the name of a header,
    parameter or key, a bucket's path or expression; empty when the value did. count: how often.
    """

    where: MaskedWhere
    rule: str
    name: str
    count: int = 1


class CallCaptured(Fact, frozen=True):
    """Subject: the call's id. Key: the bucket's. `response` is None when none came; with an error both may be
    there.

    started_at: when the request's head had arrived. duration_ms: until the last byte was relayed.
    status_sent: what the client was answered, which differs from the response's when the gateway answered
    itself (502, 504). origin: `gateway` relayed it; `bin` answered it without a target; `tunnel`: CONNECT,
    whose bytes are not kept; `playback`: answered with the stored response of the call `replay_of`.
    redacted: what was masked.
    """

    TYPE = "traffic.call.captured"

    id: str
    bucket: str
    started_at: datetime
    duration_ms: float
    request: CapturedRequest
    response: CapturedResponse | None
    error: CallError | None
    timings: Timings
    status_sent: int
    client_address: str | None = None
    server_address: str | None = None
    origin: Origin = "gateway"
    replay_of: str | None = None
    strict: bool = False
    redacted: tuple[Masked, ...] = ()


class CapturesLost(Fact, frozen=True):
    """The spool was full: `count` calls in `bucket` were relayed but could not be kept."""

    TYPE = "traffic.capture.lost"

    bucket: str
    count: int
    since: datetime


FACTS = (CallCaptured, CapturesLost)
OPERATIONS = ()
SUBSCRIPTIONS: tuple[Subscription, ...] = ()
