"""The read model of calls: the row of a captured call, and what a search for calls means.

Pure. Rows are made while the log is written; a search is checked once, in front of every engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bus.errors import Malformed, Refused
from bus.event import Event
from schemas.request_vault import MAX_PAGE, CallMarks, CallSummary, Position, SearchCalls
from schemas.traffic_gateway import Body, CallCaptured
from services.calls.path_template import path_template
from services.calls.query import Term
from services.request_vault.domain.recording import MAX_NAME_CHARS, from_us, to_us

MAX_PREFIX_CHARS = 2048
CLOCK_LEAD_US = 3_600 * 1_000_000
"""How far a gateway's clock may run ahead of the vault's before `since` may miss its calls."""

_INT64 = 2**63 - 1
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_AUTHORITY = re.compile(r"(?:[^/?#:@\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_STATUS = re.compile(r"([1-9])(?:xx|[0-9]{2})", re.IGNORECASE)


class CallRow(NamedTuple):
    """What engines keep of a call to find it by. host: lower-case, with its port unless that is the scheme's
    default. path: at least `/`; template: the route it was probably called by. query: without `?`.
    content_type: the response's media type, lower-case, without parameters. error: the slug. What has a
    default is not captured but marked (`domain.marking`); tags: a JSON list."""

    id: str
    bucket: str
    started_us: int
    method: str
    scheme: str
    host: str
    path: str
    template: str
    query: str
    status: int | None
    duration_us: int
    request_bytes: int
    response_bytes: int
    content_type: str | None
    error: str | None
    origin: str
    starred: int = 0
    share: str | None = None
    share_until_us: int | None = None
    note: str = ""
    tags: str = "[]"
    deleted_us: int | None = None


CAPTURED_FIELDS = tuple(name for name in CallRow._fields if name not in CallRow._field_defaults)


class CallEntry(NamedTuple):
    """What the read model gets of a captured call. bodies: the hashes of those that are kept apart."""

    row: CallRow
    bodies: tuple[str, ...]


def call_entry(event: Event) -> CallEntry:
    """Of a `traffic.call.captured` event. Raises Malformed or UnknownType, naming the field at fault."""
    call = event.read(CallCaptured)
    if call.bucket != event.key:
        raise Malformed(
            f"call {call.id[:80]!r}: its data name bucket {call.bucket[:80]!r}, its topic {event.key!r}"
        )
    if not call.id or len(call.id) > MAX_NAME_CHARS:
        raise Malformed(
            f"call {call.id[:80]!r}: its id has {len(call.id)} characters, not 1 to {MAX_NAME_CHARS}"
        )
    if call.started_at.tzinfo is None:
        raise Malformed(f"call {call.id[:80]!r}: started_at has no zone")
    if not math.isfinite(call.duration_ms) or abs(call.duration_ms) > 1e12:
        raise Malformed(f"call {call.id[:80]!r}: duration_ms is {call.duration_ms}")
    response = call.response
    scheme, host, path, query = split_url(call.request.url)
    row = CallRow(
        id=call.id,
        bucket=call.bucket,
        started_us=to_us(call.started_at),
        method=call.request.method,
        scheme=scheme,
        host=host,
        path=path,
        template=path_template(path),
        query=query,
        status=None if response is None else _within_int64(response.status),
        duration_us=round(call.duration_ms * 1000),
        request_bytes=_within_int64(call.request.body.size_bytes),
        response_bytes=0 if response is None else _within_int64(response.body.size_bytes),
        content_type=None if response is None else media_type(response.headers),
        error=None if call.error is None else call.error.slug,
        origin=call.origin,
    )
    return CallEntry(row, bodies_apart(call))


def bodies_apart(call: CallCaptured) -> tuple[str, ...]:
    """The hashes of the bodies that do not ride in the call's event."""
    request = stored_apart(call.request.body)
    response = None if call.response is None else stored_apart(call.response.body)
    if request is None:
        return () if response is None else (response,)
    return (request,) if response is None or response == request else (request, response)


def stored_apart(body: Body) -> str | None:
    """The hash of a body that does not ride in the event."""
    return body.sha256 if body.inline is None and body.captured_bytes > 0 else None


def summary(row: CallRow, position: Position) -> CallSummary:
    return CallSummary(
        id=row.id,
        bucket=row.bucket,
        started_at=from_us(row.started_us),
        method=row.method,
        scheme=row.scheme,
        host=row.host,
        path=row.path,
        query=row.query,
        status=row.status,
        duration_ms=row.duration_us / 1000,
        request_bytes=row.request_bytes,
        response_bytes=row.response_bytes,
        content_type=row.content_type,
        error=row.error,
        origin=row.origin,
        position=position,
        template=row.template,
        starred=bool(row.starred),
        shared=row.share is not None,
        tags=tags_of(row),
        note=row.note,
    )


def marks(row: CallRow) -> CallMarks:
    return CallMarks(
        id=row.id,
        bucket=row.bucket,
        starred=bool(row.starred),
        note=row.note,
        tags=tags_of(row),
        share=row.share,
        share_expires_at=None if row.share_until_us is None else from_us(row.share_until_us),
        deleted=row.deleted_us is not None,
    )


def tags_of(row: CallRow) -> tuple[str, ...]:
    return () if row.tags == "[]" else msgspec.json.decode(row.tags, type=tuple[str, ...])


def summary_bytes(call: CallSummary) -> int:
    """About how much of a frame it takes."""
    texts = f"{call.path}{call.query}{call.host}{call.template}{call.note}"
    return 512 + len(texts) * (1 if texts.isascii() else 4) + sum(4 * len(tag) for tag in call.tags)


def fitting(calls: Sequence[CallSummary], room_bytes: int) -> int:
    """How many of these, from the first on, take no more than that; at least one."""
    size = 0
    for count, call in enumerate(calls):
        size += summary_bytes(call)
        if size > room_bytes and count:
            return count
    return len(calls)


def split_url(url: str) -> tuple[str, str, str, str]:
    """scheme, host, path and query of an absolute URL (RFC 3986), for showing and searching; never
    raises. A call to a URL that is none is still a call: its text is the path."""
    scheme, found, rest = url.partition("://")
    if not found:
        if _AUTHORITY.fullmatch(url) is not None:  # of a tunnel: CONNECT names host and port
            return "", url.lower(), "", ""
        return "", "", url or "/", ""
    scheme = scheme.lower()
    rest = rest.partition("#")[0]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2].lower()
    default_port = _DEFAULT_PORTS.get(scheme)
    if default_port is not None:
        host = host.removesuffix(default_port)
    return scheme, host, slash + path or "/", query


def media_type(headers: tuple[tuple[str, str], ...]) -> str | None:
    """The first content-type's media type (RFC 9110, 8.3.1), cut to 127 characters."""
    for name, value in headers:
        if len(name) == 12 and name.lower() == "content-type":
            return value.partition(";")[0].strip().lower()[:127] or None
    return None


class CallQuery(msgspec.Struct, frozen=True):
    """A search that was checked. status: exact, or None; status_class: 5 for 5xx. path: a prefix.
    since_us (inclusive) and before_us (exclusive): of `started_at`. where: what a query asks for beyond all
    that."""

    bucket: str
    method: str | None = None
    host: str | None = None
    path: str | None = None
    status: int | None = None
    status_class: int | None = None
    error: bool | None = None
    error_slug: str | None = None
    since_us: int | None = None
    before_us: int | None = None
    where: Term | None = None
    limit: int = 50


def call_query(ask: SearchCalls) -> CallQuery:
    """The plain filters of a search; its query is joined to them by `domain.queries.narrowed`. Raises
    Refused("query-invalid"), naming the field at fault."""
    if not 1 <= ask.limit <= MAX_PAGE:
        raise _invalid("limit", f"{ask.limit} is not 1 to {MAX_PAGE}")
    for name, value, most in (
        ("bucket", ask.bucket, MAX_NAME_CHARS),
        ("method", ask.method, MAX_NAME_CHARS),
        ("host", ask.host, MAX_NAME_CHARS),
        ("error_slug", ask.error_slug, MAX_NAME_CHARS),
        ("path", ask.path, MAX_PREFIX_CHARS),
    ):
        if value is not None and len(value) > most:
            raise _invalid(name, f"{len(value)} characters; the limit is {most}")
    if ask.error is False and ask.error_slug is not None:
        raise _invalid("error", f"calls without an error have no error_slug {ask.error_slug!r}")
    status = status_class = None
    if ask.status is not None:
        found = _STATUS.fullmatch(ask.status)
        if found is None:
            raise _invalid(
                "status", f"{ask.status[:40]!r} is neither a status such as '404' nor a class such as '5xx'"
            )
        status_class = int(found[1])
        status = int(ask.status) if ask.status.isdecimal() else None
    for name, moment in (("since", ask.since), ("before", ask.before)):
        if moment is not None and moment.tzinfo is None:
            raise _invalid(name, f"{moment.isoformat()} has no zone; write {moment.isoformat()}Z for UTC")
    return CallQuery(
        bucket=ask.bucket,
        method=ask.method,
        host=ask.host.lower() if ask.host is not None else None,
        path=ask.path or None,
        status=status,
        status_class=status_class,
        error=ask.error,
        error_slug=ask.error_slug,
        since_us=None if ask.since is None else to_us(ask.since),
        before_us=None if ask.before is None else to_us(ask.before),
        limit=ask.limit,
    )


def after_prefix(prefix: str) -> str | None:
    """The least text that is greater than every text beginning with `prefix`, by code points (the order
    of UTF-8 bytes); None when there is none. `prefix <= text < after_prefix(prefix)` needs no escaping,
    unlike LIKE."""
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at])
        if point < 0x10FFFF:
            following = 0xE000 if point == 0xD7FF else point + 1  # surrogates cannot be encoded
            return prefix[:at] + chr(following)
    return None


def _invalid(name: str, why: str) -> Refused:
    return Refused("query-invalid", f"{name}: {why}")


def _within_int64(value: int) -> int:
    return max(-_INT64, min(value, _INT64))
