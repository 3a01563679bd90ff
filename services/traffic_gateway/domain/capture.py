"""What is kept of a call while it is relayed, and the one place where it becomes a `CallCaptured`. Pure.

Captured is what the target saw and said: the request's headers as they were sent on, the response's as they
came. It is not to be published before `masking` has been over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from schemas.identity import CaptureMode
from schemas.traffic_gateway import (
    CallCaptured,
    CallError,
    CapturedRequest,
    CapturedResponse,
    Headers,
    Origin,
    Timings,
)
from services.calls.redaction.redactor import Redactor
from services.traffic_gateway.domain.bodies import Budget, Stored, Tap
from services.traffic_gateway.domain.headers import RawHeader

NOT_SENT = 0
"""`status_sent` of a call whose client was answered nothing."""

_USUAL_NAME_BYTES = 64  # longer names are decoded anew each time: remembering them would hold memory
_NO_TIMINGS = Timings()


class Headed(NamedTuple):
    """at: the clock's monotonic seconds when the response's head had come; and the seconds of each phase
    before."""

    at: float
    dns_s: float | None
    connect_s: float | None
    tls_s: float | None
    send_s: float | None
    wait_s: float | None


class Capture:
    """A call in flight. Filled in as it goes; `captured` at the end. echoed: the headers that the request bin
    showed to its client. held: somebody is still busy with the bodies, and drops them afterwards."""

    __slots__ = (
        "_began",
        "_bucket",
        "_client_address",
        "_http_version",
        "_method",
        "_origin",
        "_request_headers",
        "_response",
        "_started_at",
        "echoed",
        "error",
        "headed",
        "held",
        "id",
        "mode",
        "recorded",
        "redactor",
        "replay_of",
        "request_body",
        "response_body",
        "server_address",
        "status_sent",
        "url",
    )

    def __init__(
        self,
        *,
        id: str,
        bucket: str,
        mode: CaptureMode,
        began: float,
        started_at: datetime,
        method: str,
        url: str,
        http_version: str,
        headers: Iterable[RawHeader],
        cap_bytes: int,
        budget: Budget,
        redactor: Redactor,
        client_address: str | None,
        origin: Origin,
    ) -> None:
        """began: the clock's monotonic seconds when the request's head had arrived; started_at: the same
        moment."""
        self.id = id
        self.mode = mode
        self.recorded = mode == "off"
        self.url = url if url.isascii() else _ascii_url(url)
        cap_bytes = 0 if self.recorded else cap_bytes
        self.request_body: Tap = Tap(cap_bytes, budget)
        self.response_body: Tap = Tap(cap_bytes, budget)
        self.error: CallError | None = None
        self.headed: Headed | None = None
        self.status_sent = NOT_SENT
        self.redactor = redactor
        self.echoed: Headers | None = None
        self.held = False
        self.server_address: str | None = None
        self._response: tuple[int, str, str, Iterable[RawHeader]] | None = None
        self._bucket = bucket
        self._began = began
        self._started_at = started_at
        self._method = method
        self._http_version = http_version
        self._request_headers = headers
        self._client_address = client_address
        self._origin = origin
        self.replay_of: str | None = None

    def answered(self, status: int, reason: bytes, http_version: str, headers: Iterable[RawHeader]) -> None:
        """The response's head has come."""
        self._response = (status, reason.decode("latin-1"), http_version, headers)
        self.status_sent = status

    def elapsed_ms(self, now: float) -> float:
        """Since the request's head had arrived. `now`: the clock's monotonic seconds."""
        return (now - self._began) * 1000

    def captured(self, now: float) -> tuple[CallCaptured, list[Stored]]:
        """The fact, not redacted yet, and the bodies that travel beside it. `now`: the clock's monotonic
        seconds."""
        request_body, request_stored = self.request_body.body()
        response = None
        stored = [] if request_stored is None else [request_stored]
        if self._response is not None:
            status, reason, version, headers = self._response
            body, response_stored = self.response_body.body()
            if response_stored is not None:
                stored.append(response_stored)
            response = CapturedResponse(status, reason, version, _text(headers), body)
        request = CapturedRequest(
            self._method,
            self.url,
            self._http_version,
            _text(self._request_headers),
            request_body,
        )
        call = CallCaptured(
            id=self.id,
            bucket=self._bucket,
            started_at=self._started_at,
            duration_ms=round((now - self._began) * 1000, 3),
            request=request,
            response=response,
            error=self.error,
            timings=self._timings(now),
            status_sent=self.status_sent,
            client_address=self._client_address,
            server_address=self.server_address,
            origin=self._origin,
            replay_of=self.replay_of,
            strict=self.mode == "strict",
        )
        return call, stored

    def _timings(self, now: float) -> Timings:
        headed = self.headed
        if headed is None:
            return _NO_TIMINGS
        return Timings(
            _ms(headed.dns_s),
            _ms(headed.connect_s),
            _ms(headed.tls_s),
            _ms(headed.send_s),
            _ms(headed.wait_s),
            _ms(now - headed.at),
        )

    def drop(self) -> None:
        """Give the memory of the bodies back, unless they are `held`."""
        if self.held:
            return
        self.request_body.drop()
        self.response_body.drop()


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _text(headers: Iterable[RawHeader]) -> Headers:
    return tuple(
        (_name(name) if len(name) <= _USUAL_NAME_BYTES else name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
    )


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1")


def _ascii_url(url: str) -> str:
    """Bytes outside ASCII percent-encoded, as a URL must have them (RFC 3986 2.1); they go out as they
    came."""
    return "".join(
        char
        if char.isascii()
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in url
    )
