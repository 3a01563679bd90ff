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

KINDS = (ADDRESS_INVALID, BUCKET_UNKNOWN, BUCKET_UNCHECKED, HEAD_TOO_LARGE, LOOP_DETECTED, CAPTURE_FAILED)

_STATUS: dict[type[OutgoingError], tuple[int, str]] = {
    BodyFailed: (400, "The request's body broke off"),
    TargetRefused: (403, "This target is not called"),
    ConnectTimeout: (504, "The target did not answer in time"),
    UpstreamTimeout: (504, "The target did not answer in time"),
}
_OTHERWISE = (502, "The target could not be called")


def of_failure(error: OutgoingError, *, target: str, call_id: str) -> Problem:
    """The answer to a call whose target failed: names the target and the cause."""
    status, title = _STATUS.get(type(error), _OTHERWISE)
    return Problem(status, error.slug, title, str(error), target=target, call=call_id, remedy=error.remedy)


def of_bus(error: BusError, key: str) -> Problem:
    return BUCKET_UNCHECKED.of(f"bucket {key}: {error}", headers={"Retry-After": "1"})


__all__ = [
    "ADDRESS_INVALID",
    "BUCKET_UNKNOWN",
    "CAPTURE_FAILED",
    "HEAD_TOO_LARGE",
    "INTERNAL_ERROR",
    "KINDS",
    "LOOP_DETECTED",
    "REQUEST_INVALID",
    "of_bus",
    "of_failure",
]
