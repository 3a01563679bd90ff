"""What can go wrong between here and a target; the slugs are those of `schemas.traffic_gateway.CallError`.

    OutgoingError
    ├── TargetRefused         the policy forbids every address of the target
    ├── DnsFailed             the name has no address
    ├── ConnectRefused        no address of it takes a connection
    ├── ConnectTimeout        ... in time
    ├── TlsFailed             no TLS session could be agreed on, or the certificate is not good
    ├── UpstreamTimeout       connected, but no answer, or no more of it, in time
    ├── UpstreamDisconnected  the target closed before its answer was whole
    ├── UpstreamMalformed     what came is no HTTP/1.x
    └── BodyFailed            the request's body could not be read from the caller's side

aiohttp's and the socket's own errors are translated where they enter (`client`, `wire`, `guard`); none leaves
this package."""

from __future__ import annotations

from bus.errors import BusError


class OutgoingError(BusError):
    slug = "gateway-failed"
    meaning = "A call to the outside world failed in a way that has no name of its own."
    remedy = "Read the detail; if it does not help, report it with the log."
    exit_code = 69


class TargetRefused(OutgoingError):
    slug = "target-refused"
    meaning = "The installation's policy forbids connecting to this target's addresses."
    remedy = "Ask the operator to allow the network, or call another target."
    exit_code = 77


class DnsFailed(OutgoingError):
    slug = "dns-failed"
    meaning = "The target's host name could not be resolved to an address."
    remedy = "Check the spelling of the host and the resolver of the machine."


class ConnectRefused(OutgoingError):
    slug = "connect-refused"
    meaning = "The target's machine does not take connections on this port, or cannot be reached."
    remedy = "Check the port and that the target runs."


class ConnectTimeout(OutgoingError):
    slug = "connect-timeout"
    meaning = "The target did not take a connection in time."
    remedy = "Check that the target is reachable from here; a firewall may drop packets."


class TlsFailed(OutgoingError):
    slug = "tls-failed"
    meaning = "No TLS session could be made with the target, or its certificate is not trusted."
    remedy = "Check the scheme (https or http), the host name and the target's certificate."


class UpstreamTimeout(OutgoingError):
    slug = "upstream-timeout"
    meaning = "The target took the connection but did not answer, or stopped answering, in time."
    remedy = "Look at the target; raise the timeout if it is meant to be this slow."


class UpstreamDisconnected(OutgoingError):
    slug = "upstream-disconnected"
    meaning = "The target closed the connection before its answer was whole."
    remedy = "Look at the target's log: it, or something in front of it, gave up on the request."


class UpstreamMalformed(OutgoingError):
    slug = "upstream-malformed"
    meaning = "What the target sent is no valid HTTP/1.x response."
    remedy = "Check that the port speaks HTTP and with which scheme."


class BodyFailed(OutgoingError):
    """`__cause__` is what the body's source raised."""

    slug = "client-disconnected"
    meaning = "The request's body broke off on the side of the one who sends it."
    remedy = "Look at the client: it closed, or sent a malformed body."
