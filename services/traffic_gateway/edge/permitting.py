"""Whether a call is made at all, as its bucket's settings say; what is not is a problem for the client.
Called by `relaying` and whatever else opens connections for a bucket."""

from __future__ import annotations

from schemas.identity import Bucket
from services.chassis.access import Addressed
from services.traffic_gateway.domain.admission import host_refusal, verdict
from services.traffic_gateway.edge.problems import (
    BUCKET_AUTH_MISSING,
    BUCKET_AUTH_REFUSED,
    HostRefused,
    proxy_auth_required,
)

_CHALLENGE = {"WWW-Authenticate": 'Trunkline-Bucket-Auth realm="bucket"'}  # RFC 9110 15.5.2 wants one


def check_token(addressed: Addressed, secret: str, *, proxied: bool = False) -> None:
    """secret: what the client shows, empty when it shows nothing. proxied: it takes the gateway for a forward
    proxy, and is told so. Raises Problem."""
    key = addressed.bucket.key
    match verdict(addressed.guard_sha256, secret):
        case "missing":
            kind, detail = BUCKET_AUTH_MISSING, f"bucket {key} asks its clients for a token"
        case "refused":
            kind, detail = BUCKET_AUTH_REFUSED, f"this is not the token of bucket {key}"
        case "admitted":
            return
    if proxied:
        raise proxy_auth_required(f"{detail}; it is the proxy's password")
    raise kind.of(detail, headers=_CHALLENGE)


def check_host(bucket: Bucket, host: str) -> None:
    """Before anything is resolved. Raises HostRefused, with which the call is captured."""
    why = host_refusal(host, bucket.allowed_hosts, bucket.denied_hosts)
    if why is not None:
        raise HostRefused(f"bucket {bucket.key} does not call {host}: {why}")
