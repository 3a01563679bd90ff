"""Causation, correlation and W3C trace context: set around each handler, read by the publisher.

What a handler publishes names the event being handled as its cause and carries its correlation and
`traceparent` on. An edge, where a trace begins, sets `TRACEPARENT` itself.
"""

from __future__ import annotations

from contextvars import ContextVar

from bus.event import Event
from bus.middleware import Handle, Handled

CAUSE: ContextVar[Event | None] = ContextVar("trunkline_cause", default=None)
TRACEPARENT: ContextVar[str | None] = ContextVar("trunkline_traceparent", default=None)


def wrap(proceed: Handle) -> Handle:
    async def traced(delivery: Handled) -> None:
        token = CAUSE.set(delivery.event)
        try:
            await proceed(delivery)
        finally:
            CAUSE.reset(token)

    return traced


def causes() -> tuple[str | None, str | None, str | None]:
    """(correlationid, causationid, traceparent) for an event that is made now."""
    cause = CAUSE.get()
    if cause is None:
        return None, None, TRACEPARENT.get()
    return cause.correlationid or cause.id, cause.id, cause.traceparent or TRACEPARENT.get()
