"""The one table of HTTP codes with which the gateway itself answers, and how failures become them."""

from __future__ import annotations

from bus.errors import BusError
from services.chassis.outgoing import (
    BodyFailed,
    ConnectTimeout,
    OutgoingError,
    TargetRefused,
    UpstreamTimeout,
)
from services.chassis.web import INTERNAL_ERROR, REQUEST_INVALID, Problem, ProblemKind

ADDRESS_INVALID = ProblemKind(
    "address-invalid",
    400,
    "This is no gateway address",
    "The path or the host name does not say which bucket and which target are meant.",
    "Write /KEY/https://host/path, or let `trunkline url URL` write it.",
)
BUCKET_UNKNOWN = ProblemKind(
    "bucket-unknown",
    404,
    "There is no such bucket",
    "No bucket has the key in the address.",
    "Check the key; `trunkline buckets` lists those there are.",
)
PROXY_AUTH_REQUIRED = ProblemKind(
    "proxy-auth-required",
    407,
    "The proxy has to know the bucket",
    "The gateway is called as a forward proxy, and the user name does not name a bucket, or the password is "
    "not its token.",
    "Set http_proxy=http://KEY@HOST:PORT, with the bucket's key; http://KEY:TOKEN@HOST:PORT where the bucket "
    "asks for a token.",
)
BUCKET_AUTH_MISSING = ProblemKind(
    "bucket-auth-missing",
    401,
    "The bucket asks for a token",
    "The bucket lets only those clients through that show its auth token.",
    "Send the token in the header Trunkline-Bucket-Auth; it is not relayed.",
)
BUCKET_AUTH_REFUSED = ProblemKind(
    "bucket-auth-refused",
    401,
    "This is not the bucket's token",
    "The token that was sent is not the bucket's, or no longer.",
    "Send the token that was shown when the bucket's was last set, or set another.",
)
BUCKET_UNCHECKED = ProblemKind(
    "bucket-unchecked",
    503,
    "The bucket cannot be looked up at the moment",
    "The gateway has not heard of the bucket yet and cannot ask for it now. Known buckets work on.",
    "Try again in a moment.",
)
HEAD_TOO_LARGE = ProblemKind(
    "head-too-large",
    431,
    "The request's head is too large",
    "The request's headers together are longer than the gateway takes.",
    "Send fewer or shorter headers.",
)
ADDRESS_TOO_LONG = ProblemKind(
    "address-too-long",
    414,
    "The address is too long",
    "The request line is longer than the gateway takes.",
    "Send a shorter URL; much data belongs into a body.",
)
CLIENT_TOO_SLOW = ProblemKind(
    "client-too-slow",
    408,
    "The request did not come in time",
    "The request's head was not whole in time.",
    "Send the request's head in one piece; look at the network between.",
)
CODING_UNKNOWN = ProblemKind(
    "coding-unknown",
    501,
    "This transfer coding is not understood",
    "The request's body travels in a transfer coding other than chunked (RFC 9112 6.1).",
    "Send it chunked or with a Content-Length; what compresses it belongs into Content-Encoding.",
)
VERSION_UNKNOWN = ProblemKind(
    "version-unknown",
    505,
    "This protocol is not spoken here",
    "The request line names another protocol than HTTP/1.1 and HTTP/1.0.",
    "Speak HTTP/1.1; HTTP/2 ends at a proxy in front of the gateway.",
)
TOO_MANY_CONNECTIONS = ProblemKind(
    "too-many-connections",
    429,
    "One client holds too many connections",
    "As many connections as one client may have come from its address already.",
    "Keep connections and use them again; the operator sets `max_connections_per_client`.",
)
GATEWAY_FULL = ProblemKind(
    "gateway-full",
    503,
    "The gateway takes no more connections",
    "As many connections as the gateway may have are open.",
    "Try again in a moment; the operator sets `max_connections` or starts another gateway.",
)
LOOP_DETECTED = ProblemKind(
    "loop-detected",
    508,
    "The call goes round in a circle",
    "The call's target is this gateway again, directly or by way of others: it would be relayed for ever.",
    "Name the API itself as the target, once, and not an address of the gateway.",
)
CAPTURE_FAILED = ProblemKind(
    "capture-failed",
    503,
    "The call was made, but could not be kept",
    "The bucket asks for strict capture, and neither the bus nor the spool on disk took the call. The target "
    "has answered; its answer is withheld, for it would be an answer that nobody recorded.",
    "Make room on the disk or bring the bus back, and look at the target before calling again.",
)

PLAYBACK_UNKNOWN = ProblemKind(
    "playback-unknown",
    404,
    "There is no such call to play back",
    "The bucket has no call with the id in Trunkline-Playback-Id; it may have expired or been deleted.",
    "Take the id from `trunkline calls`; star a call that is to stay.",
)
PLAYBACK_IMPOSSIBLE = ProblemKind(
    "playback-impossible",
    409,
    "This call cannot be played back",
    "A tunnel or a WebSocket has no response that could be answered with.",
    "Name a call that was answered over HTTP.",
)
PLAYBACK_TRUNCATED = ProblemKind(
    "playback-truncated",
    409,
    "The call's response was not kept whole",
    "The response was longer than what its bucket keeps of a body, or it broke off.",
    "Raise the bucket's body_cap_bytes and make the call again.",
)
PLAYBACK_GONE = ProblemKind(
    "playback-gone",
    410,
    "The call's response is not there any more",
    "The call is known, but its response's body has not arrived at the vault, or is gone.",
    "Try again when the call is new; make the call again when it is old.",
)
PLAYBACK_UNAVAILABLE = ProblemKind(
    "playback-unavailable",
    503,
    "Calls cannot be played back at the moment",
    "The request vault, which keeps the calls, does not answer.",
    "Try again in a moment.",
)

KINDS = (
    ADDRESS_INVALID,
    BUCKET_UNKNOWN,
    BUCKET_AUTH_MISSING,
    BUCKET_AUTH_REFUSED,
    BUCKET_UNCHECKED,
    HEAD_TOO_LARGE,
    LOOP_DETECTED,
    CAPTURE_FAILED,
    PROXY_AUTH_REQUIRED,
    ADDRESS_TOO_LONG,
    CLIENT_TOO_SLOW,
    CODING_UNKNOWN,
    VERSION_UNKNOWN,
    TOO_MANY_CONNECTIONS,
    GATEWAY_FULL,
    PLAYBACK_UNKNOWN,
    PLAYBACK_IMPOSSIBLE,
    PLAYBACK_TRUNCATED,
    PLAYBACK_GONE,
    PLAYBACK_UNAVAILABLE,
)


class HostRefused(OutgoingError):
    slug = "host-refused"
    meaning = "The bucket's settings do not let its calls go to this host."
    remedy = "Change the bucket's allowed_hosts or denied_hosts, or call another host."
    exit_code = 77


_STATUS: dict[type[OutgoingError], tuple[int, str]] = {
    BodyFailed: (400, "The request's body broke off"),
    TargetRefused: (403, "This target is not called"),
    HostRefused: (403, "The bucket does not call this host"),
    ConnectTimeout: (504, "The target did not answer in time"),
    UpstreamTimeout: (504, "The target did not answer in time"),
}
_OTHERWISE = (502, "The target could not be called")


def of_failure(error: OutgoingError, *, target: str, call_id: str) -> Problem:
    """The answer to a call whose target failed: names the target and the cause."""
    status, title = _STATUS.get(type(error), _OTHERWISE)
    if isinstance(error, BodyFailed) and isinstance(error.__cause__, TimeoutError):
        status = CLIENT_TOO_SLOW.status
    return Problem(status, error.slug, title, str(error), target=target, call=call_id, remedy=error.remedy)


def proxy_auth_required(detail: str) -> Problem:
    """With the challenge that goes with it (RFC 9110 11.7.1)."""
    challenge = {"Proxy-Authenticate": 'Basic realm="Trunkline bucket", charset="UTF-8"'}
    return PROXY_AUTH_REQUIRED.of(detail, headers=challenge)


def of_bus(error: BusError, key: str) -> Problem:
    return BUCKET_UNCHECKED.of(f"bucket {key}: {error}", headers={"Retry-After": "1"})


__all__ = [
    "ADDRESS_INVALID",
    "ADDRESS_TOO_LONG",
    "BUCKET_UNKNOWN",
    "CAPTURE_FAILED",
    "CLIENT_TOO_SLOW",
    "CODING_UNKNOWN",
    "GATEWAY_FULL",
    "HEAD_TOO_LARGE",
    "HostRefused",
    "INTERNAL_ERROR",
    "KINDS",
    "LOOP_DETECTED",
    "PLAYBACK_GONE",
    "PLAYBACK_IMPOSSIBLE",
    "PLAYBACK_TRUNCATED",
    "PLAYBACK_UNAVAILABLE",
    "PLAYBACK_UNKNOWN",
    "PROXY_AUTH_REQUIRED",
    "REQUEST_INVALID",
    "TOO_MANY_CONNECTIONS",
    "VERSION_UNKNOWN",
    "of_bus",
    "of_failure",
    "proxy_auth_required",
]
