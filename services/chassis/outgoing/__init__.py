"""The guarded HTTP client: how rooms that talk to the outside world do so (import-linter names them).

It resolves a target once, lets the policy filter the addresses, and connects to the very address that was
checked, so that a name cannot point elsewhere a moment later. What is sent is what the caller wrote: method,
target and headers byte for byte; no cookies, no redirects, no decompression, no headers of its own.
Connections are kept alive per origin. Bodies stream both ways with back-pressure. Failures are
`OutgoingError`s with the slugs that calls are captured with.

    async with Outgoing(Policy(), clock) as outgoing: async with outgoing.send(Request(Origin("https",
        "api.example.com", 443), "GET", b"/x", headers)) as response: while piece := await response.read():
        ...

The wire is parsed by aiohttp's llhttp parser (`ResponseHandler`) and written here: `ClientSession`
upper-cases methods, drops an empty query and cannot carry header bytes that are not UTF-8."""

from __future__ import annotations

from services.chassis.outgoing.client import Limits, Outgoing
from services.chassis.outgoing.errors import (
    BodyFailed,
    ConnectRefused,
    ConnectTimeout,
    DnsFailed,
    OutgoingError,
    TargetRefused,
    TlsFailed,
    UpstreamDisconnected,
    UpstreamMalformed,
    UpstreamTimeout,
)
from services.chassis.outgoing.guard import Policy
from services.chassis.outgoing.heads import header_fault
from services.chassis.outgoing.messages import Request, Response
from services.chassis.outgoing.pipe import Inflow, Pipe, half_close
from services.chassis.outgoing.wire import Origin, Phases

__all__ = [
    "BodyFailed",
    "ConnectRefused",
    "ConnectTimeout",
    "DnsFailed",
    "Inflow",
    "Limits",
    "Origin",
    "Outgoing",
    "OutgoingError",
    "Phases",
    "Pipe",
    "Policy",
    "Request",
    "Response",
    "TargetRefused",
    "TlsFailed",
    "UpstreamDisconnected",
    "UpstreamMalformed",
    "UpstreamTimeout",
    "half_close",
    "header_fault",
]
