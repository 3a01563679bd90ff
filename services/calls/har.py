"""A call as an entry of a HAR 1.2 archive, and the frame that makes entries a document.

Called by the API's export and by the command line. Format: http://www.softwareishard.com/blog/har-12-spec/
(fields that it does not know begin with an underscore, as it demands). Entries are made one at a time, so
that an archive of any length can be
streamed: `opening`, entries with commas between them, `CLOSING`.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from schemas.traffic_gateway import Body, CallCaptured, CapturedRequest, CapturedResponse, Headers, Timings
from services.calls.body import as_kept, header, media_type, text_of, undo_codings

CLOSING = b"]}}"
DECODED_LIMIT_BYTES = 16 * 1024 * 1024
MAX_FIELDS = 1000  # of a query, a form, a cookie header

Pairs = list[dict[str, str]]


def opening(version: str) -> bytes:
    """The document up to its first entry. version: Trunkline's."""
    creator = msgspec.json.encode({"name": "Trunkline", "version": version})
    return b'{"log":{"version":"1.2","creator":' + creator + b',"entries":['


def entry(call: CallCaptured, request_body: bytes | None, response_body: bytes | None) -> dict[str, Any]:
    """`call` as a HAR entry. Bodies as captured; None when their bytes are gone. A
    call without a response has status 0 and `_error`, as browsers write it."""
    timings = _timings(call.timings, call.duration_ms)
    answer: dict[str, Any] = {
        "startedDateTime": call.started_at.astimezone(UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "time": _ms(sum(value for name, value in timings.items() if value >= 0 and name != "ssl")),
        "request": _request(call.request, request_body),
        "response": _response(call, response_body),
        "cache": {},
        "timings": timings,
        "_id": call.id,
        "_bucket": call.bucket,
        "_origin": call.origin,
    }
    if call.server_address:
        answer["serverIPAddress"] = _without_port(call.server_address)
    if call.error is not None:
        answer["_error"] = {"slug": call.error.slug, "detail": call.error.detail}
        answer["comment"] = f"{call.error.slug}: {call.error.detail}"
    if call.response is None or call.status_sent != call.response.status:
        answer["_statusSent"] = call.status_sent
    return answer


def _request(request: CapturedRequest, data: bytes | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "method": request.method,
        "url": request.url,
        "httpVersion": f"HTTP/{request.http_version}",
        "cookies": _request_cookies(request.headers),
        "headers": _pairs(request.headers),
        "queryString": _query(request.url),
        "headersSize": -1,
        "bodySize": request.body.size_bytes,
    }
    if request.body.size_bytes:
        answer["postData"] = _post_data(request, data)
    return answer


def _post_data(request: CapturedRequest, data: bytes | None) -> dict[str, Any]:
    """HAR gives request bodies no encoding: binary ones carry `_encoding`. A form carries its fields and its
    text, as readers differ in which they take."""
    content_type = header(request.headers, "content-type")
    answer: dict[str, Any] = {"mimeType": content_type or ""}
    if data is None:
        return answer | {"text": "", "comment": "the captured bytes are not at hand"}
    coded = header(as_kept(request.headers, request.body), "content-encoding") is not None
    found = None if coded else text_of(data, content_type)
    if found is None or found.charset != "utf-8":
        # Text of another charset would not be the same bytes when it is sent again.
        answer |= {"text": b64encode(data).decode(), "_encoding": "base64"}
    else:
        answer["text"] = found.text
        if media_type(content_type) == "application/x-www-form-urlencoded":
            answer["params"] = _fields(found.text)
    return answer | _cut(request.body)


def _response(call: CallCaptured, data: bytes | None) -> dict[str, Any]:
    response = call.response
    if response is None:
        answer: dict[str, Any] = {
            "status": 0,
            "statusText": "",
            "httpVersion": "",
            "cookies": [],
            "headers": [],
            "content": {"size": 0, "mimeType": "x-unknown"},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1,
        }
    else:
        answer = {
            "status": response.status,
            "statusText": response.reason,
            "httpVersion": f"HTTP/{response.http_version}",
            "cookies": _response_cookies(response.headers),
            "headers": _pairs(response.headers),
            "content": _content(response, data),
            "redirectURL": header(response.headers, "location") or "",
            "headersSize": -1,
            "bodySize": response.body.size_bytes,
        }
    if call.error is not None:
        answer["_error"] = f"{call.error.slug}: {call.error.detail}"
    return answer


def _content(response: CapturedResponse, data: bytes | None) -> dict[str, Any]:
    """size: with the content codings undone; compression: what they saved."""
    content_type = header(response.headers, "content-type")
    answer: dict[str, Any] = {"size": response.body.size_bytes, "mimeType": content_type or "x-unknown"}
    if data is None:
        return answer | (
            {"comment": "the captured bytes are not at hand"} if response.body.size_bytes else {}
        )
    kept = as_kept(response.headers, response.body)
    undone = undo_codings(data, kept, limit_bytes=DECODED_LIMIT_BYTES)
    if undone.complete and not response.body.truncated:
        answer["size"] = len(undone.data)
        if undone.codings or response.body.decoded:
            answer["compression"] = len(undone.data) - response.body.size_bytes
    whole = undone.complete and not response.body.truncated
    found = None if undone.still_coded else text_of(undone.data, content_type, complete=whole)
    if found is None:
        answer |= {"text": b64encode(undone.data).decode(), "encoding": "base64"}
    else:
        answer["text"] = found.text
    if undone.note:
        answer["comment"] = undone.note
    return answer | _cut(response.body)


def _cut(body: Body) -> dict[str, Any]:
    if not body.truncated:
        return {}
    return {"_truncated": True, "comment": f"captured {body.captured_bytes} of {body.size_bytes} bytes"}


def _timings(timings: Timings, duration_ms: float) -> dict[str, float]:
    """HAR counts the TLS handshake into `connect` and wants send, wait and receive always; what no phase
    explains is `blocked`, so that the sum is the call's duration."""
    connect_ms = -1.0
    if timings.connect_ms is not None or timings.tls_ms is not None:
        connect_ms = (timings.connect_ms or 0.0) + (timings.tls_ms or 0.0)
    phases = {
        "dns": -1.0 if timings.dns_ms is None else timings.dns_ms,
        "connect": connect_ms,
        "send": timings.send_ms or 0.0,
        "wait": timings.wait_ms or 0.0,
        "receive": timings.receive_ms or 0.0,
    }
    left_ms = duration_ms - sum(value for value in phases.values() if value >= 0)
    answer = {
        "blocked": left_ms if left_ms > 0 else -1.0,
        **phases,
        "ssl": timings.tls_ms if timings.tls_ms is not None else -1.0,
    }
    return {name: _ms(value) for name, value in answer.items()}


def _ms(value: float) -> float:
    return round(value, 3)


def _pairs(headers: Headers) -> Pairs:
    return [{"name": name, "value": value} for name, value in headers]


def _query(url: str) -> Pairs:
    try:
        return _fields(urlsplit(url).query)
    except ValueError:
        return []


def _fields(text: str) -> Pairs:
    try:
        fields = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
    except ValueError:
        return []
    return [{"name": name, "value": value} for name, value in fields]


def _request_cookies(headers: Headers) -> Pairs:
    cookies: Pairs = []
    for value in (value for name, value in headers if name.lower() == "cookie"):
        for pair in value.split(";")[:MAX_FIELDS]:
            name, _, content = pair.strip().partition("=")
            if name or content:
                cookies.append({"name": name, "value": content})
    return cookies


def _response_cookies(headers: Headers) -> list[dict[str, Any]]:
    """RFC 6265 5.2, lenient as user agents are."""
    cookies: list[dict[str, Any]] = []
    for value in (value for name, value in headers if name.lower() == "set-cookie"):
        first, *attributes = value.split(";")
        name, _, content = first.strip().partition("=")
        cookie: dict[str, Any] = {"name": name, "value": content, "httpOnly": False, "secure": False}
        for attribute in attributes:
            key, _, setting = (part.strip() for part in attribute.partition("="))
            match key.lower():
                case "path" | "domain" as known:
                    cookie[known] = setting
                case "expires":
                    if (expires := _http_date(setting)) is not None:
                        cookie["expires"] = expires
                case "httponly":
                    cookie["httpOnly"] = True
                case "secure":
                    cookie["secure"] = True
                case "samesite":
                    cookie["_sameSite"] = setting
        cookies.append(cookie)
    return cookies


def _http_date(text: str) -> str | None:
    try:
        moment = parsedate_to_datetime(text)
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return zoned.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _without_port(address: str) -> str:
    """`10.0.0.1` of `10.0.0.1:80`, `::1` of `[::1]:80`; an address without a port as it is."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]
