"""Every problem of the API, its slug and its HTTP status: docs/errors.md is made from this table."""

from __future__ import annotations

from services.chassis.web import ProblemKind

TOKEN_MISSING = ProblemKind(
    "token-missing",
    401,
    "A token is needed",
    "The request carries no API token.",
    "Send the header `Authorization: Bearer <token>`; `trunkline up` prints a token at its first start.",
)
TOKEN_REFUSED = ProblemKind(
    "token-refused",
    401,
    "This token is not accepted",
    "The token is unknown, revoked or expired.",
    "Check that it was copied whole, or make another one.",
)
SCOPE_MISSING = ProblemKind(
    "scope-missing",
    403,
    "The token does not allow this",
    "The token is valid, but it was made without the scope that the operation needs.",
    "Use a token that has the scope named in `scope`.",
)
BUCKET_UNKNOWN = ProblemKind(
    "bucket-unknown",
    404,
    "There is no such bucket",
    "No bucket that the token may use has this key.",
    "List the buckets with GET /v1/buckets.",
)
CALL_UNKNOWN = ProblemKind(
    "call-unknown",
    404,
    "There is no such call",
    "No call that the token may read has this id; it may have expired, or not have been recorded yet.",
    "List the calls of a bucket with GET /v1/buckets/{key}/calls.",
)
EVENT_UNKNOWN = ProblemKind(
    "event-unknown",
    404,
    "There is no such event",
    "No event and no call that the token may see has this id; it may have expired, or been erased.",
    "List events with GET /v1/events, or the calls of a bucket with GET /v1/buckets/{key}/calls.",
)
BUCKET_GONE = ProblemKind(
    "bucket-gone",
    410,
    "The bucket was deleted",
    "At the moment that was asked for, the bucket had been deleted; the detail says when.",
    "Ask for an earlier moment with `at`.",
)
BODY_UNKNOWN = ProblemKind(
    "body-unknown",
    404,
    "The body is not there",
    "The call is kept, but not the bytes of this body: there were none, or they are on their way or gone.",
    "Read the call: `missing` and `size_bytes` of its bodies say which it is.",
)
BODY_DAMAGED = ProblemKind(
    "body-damaged",
    410,
    "The body is damaged",
    "The bytes of this body are no longer those that were captured: the disk has changed them. They are not "
    "given out, and kept aside. The call itself is whole.",
    "Look after the disk; `trunkline vault verify` lists all that is damaged. The body is in backups made "
    "before, and is back here when the same bytes are captured again in this bucket.",
)
PARAMETER_UNKNOWN = ProblemKind(
    "parameter-unknown",
    400,
    "There is no such parameter",
    "The query or the body names something that the operation does not have, and would be ignored.",
    "Use one of the names in `known`.",
)
PARAMETER_INVALID = ProblemKind(
    "parameter-invalid",
    400,
    "A parameter is not valid",
    "A value in the path, the query or the body is missing, given twice, or of the wrong type.",
    "Correct the field that `field` names; /v1/docs describes it.",
)
CURSOR_INVALID = ProblemKind(
    "cursor-invalid",
    400,
    "This cursor cannot be used",
    "The cursor is damaged, or was made for another list or other filters.",
    "Leave the cursor out to begin anew, and pass on `next_cursor` unchanged with the same filters.",
)
PATTERN_INVALID = ProblemKind(
    "pattern-invalid",
    400,
    "A pattern over types is not valid",
    "A pattern breaks the rules for topics; the detail says how.",
    "Use dotted words of letters, digits, `_` and `-`; `*` stands for one word, `#` for zero or more.",
)
QUERY_INVALID = ProblemKind(
    "query-invalid",
    400,
    "The search is not valid",
    "A filter's value means nothing, or the query `q` cannot be read; the detail says which, and "
    "`position` at what character of the query.",
    "Correct the filter, which /v1/docs describes, or the query, which docs/query.md does.",
)
MEDIA_TYPE_UNKNOWN = ProblemKind(
    "media-type-unknown",
    415,
    "This kind of body is not understood",
    "The body's Content-Type is not JSON.",
    "Send JSON with `Content-Type: application/json`.",
)
SERVICE_UNAVAILABLE = ProblemKind(
    "service-unavailable",
    503,
    "A service does not answer",
    "The service in `service` is not running, is too busy, or lacks something that it needs.",
    "Try again after `Retry-After` seconds; everything that does not need that service goes on working.",
)
SERVICE_FAILED = ProblemKind(
    "service-failed",
    500,
    "A service failed",
    "The service in `service` had a fault while answering. Its log has the cause.",
    "Try again; if it stays, report it with the request id.",
)
ASK_REFUSED = ProblemKind(
    "ask-refused",
    422,
    "The service said no",
    "The service understood the request and does not carry it out; `type` is its own reason.",
    "Read the detail; the same request will be refused again.",
)
RATE_LIMITED = ProblemKind(
    "rate-limited",
    429,
    "Too many requests",
    "The token, or the address of a request that needs none, sends more than the limit allows.",
    "Wait `Retry-After` seconds; `RateLimit` in every answer says how many requests are left.",
)
PRECONDITION_FAILED = ProblemKind(
    "precondition-failed",
    412,
    "It is not what the condition says",
    "The request carries If-Match or If-None-Match, and what it is about has another version, or none that "
    "could match. Nothing was done.",
    "Read it again, and send the `ETag` of that answer; or leave the condition out.",
)
KEY_REUSED = ProblemKind(
    "idempotency-key-reused",
    422,
    "The Idempotency-Key belongs to another request",
    "Within a day the same key came with another path, body or condition.",
    "Send the first request unchanged to repeat it, or choose a new key.",
)
KEY_RUNNING = ProblemKind(
    "idempotency-key-running",
    409,
    "The first request with this Idempotency-Key still runs",
    "A repeat came before the first request was answered.",
    "Try again after `Retry-After` seconds.",
)
SHARE_UNKNOWN = ProblemKind(
    "share-unknown",
    404,
    "There is no such link",
    "No call is shared by this link; it may have ended, or the call is gone.",
    "Ask whoever gave you the link for another one.",
)
TOO_LARGE = ProblemKind(
    "event-too-large",
    413,
    "This is too large to travel",
    "The request is larger than what may travel over the bus in one piece.",
    "Send less at once.",
)

KINDS = (
    TOKEN_MISSING,
    TOKEN_REFUSED,
    SCOPE_MISSING,
    BUCKET_UNKNOWN,
    CALL_UNKNOWN,
    EVENT_UNKNOWN,
    BUCKET_GONE,
    BODY_UNKNOWN,
    BODY_DAMAGED,
    PARAMETER_UNKNOWN,
    PARAMETER_INVALID,
    CURSOR_INVALID,
    PATTERN_INVALID,
    QUERY_INVALID,
    MEDIA_TYPE_UNKNOWN,
    SERVICE_UNAVAILABLE,
    SERVICE_FAILED,
    ASK_REFUSED,
    RATE_LIMITED,
    PRECONDITION_FAILED,
    KEY_REUSED,
    KEY_RUNNING,
    SHARE_UNKNOWN,
    TOO_LARGE,
)
