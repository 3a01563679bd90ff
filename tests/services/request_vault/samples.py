"""Events and calls as the vault's tests make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bus import codec
from bus.event import Event
from bus.ids import derived
from bus.message import Fact
from schemas.traffic_gateway import (
    Body,
    CallCaptured,
    CallError,
    CapturedRequest,
    CapturedResponse,
    Timings,
)

BUCKET = "7xzcnsgbwox2"
START = datetime(2026, 1, 1, tzinfo=UTC)


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"

    total_cents: int = 0


class OrderPaid(Fact, frozen=True):
    TYPE = "shop.order.paid"

    total_cents: int = 0


class ThingDecided(Fact, frozen=True):
    TYPE = "shop.thing.decided"
    ORDERED = True

    what: str = ""


def event_of(
    fact: Fact,
    id: str,
    *,
    key: str = "eu",
    subject: str | None = None,
    source: str = "shop",
    at_s: float = 0.0,
    correlation: str | None = None,
    causation: str | None = None,
) -> Event:
    """`at_s`: seconds after the clock's start."""
    return Event(
        id=id,
        source=source,
        type=fact.TYPE,
        version=fact.VERSION,
        key=key,
        subject=subject,
        time=START + timedelta(seconds=at_s),
        data=codec.encode_data(fact),
        correlationid=correlation,
        causationid=causation,
    )


def order(number: int, *, subject: str | None = None, **envelope: Any) -> Event:
    return event_of(OrderPlaced(number), f"order-{number}", subject=subject or f"o-{number}", **envelope)


def decision(name: str, *, what: str | None = None, key: str = "_") -> bytes:
    """An encoded decision whose id is `name`."""
    return codec.encode_event(event_of(ThingDecided(what or name), name, key=key, subject=name))


def call(
    id: str,
    *,
    bucket: str = BUCKET,
    method: str = "GET",
    url: str = "https://api.example.com/v1/items?page=2",
    status: int | None = 200,
    error: str | None = None,
    at_s: float = 0.0,
    request_body: Body | None = None,
    response_body: Body | None = None,
) -> CallCaptured:
    """A call as the gateway captures it. `status` None: no response came."""
    response = None
    if status is not None:
        headers = (("Content-Type", "application/json; charset=utf-8"), ("ETag", '"1"'))
        response = CapturedResponse(
            status, "", "1.1", headers, response_body or Body(11, 11, None, b'{"ok":true}')
        )
    return CallCaptured(
        id=id,
        bucket=bucket,
        started_at=START + timedelta(seconds=at_s),
        duration_ms=12.345,
        request=CapturedRequest(method, url, "1.1", (("Host", "api.example.com"),), request_body or Body()),
        response=response,
        error=None if error is None else CallError(error, "it went wrong"),
        timings=Timings(wait_ms=10.0),
        status_sent=status or 502,
    )


def call_event(captured: CallCaptured, *, at_s: float = 0.0) -> Event:
    return event_of(
        captured,
        derived("captured", captured.id),
        key=captured.bucket,
        subject=captured.id,
        source="traffic_gateway",
        at_s=at_s,
    )


def captured(id: str, **fields: Any) -> Event:
    return call_event(call(id, **fields))
