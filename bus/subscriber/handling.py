"""Calls the handlers of one event inside the middleware, and says how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from bus.errors import BusError, Malformed, Reject, Retry, Unavailable, trace_of
from bus.event import Event
from bus.middleware import Handle, dedupe, metrics, tracing
from bus.middleware.deadline import Watchdog
from bus.router import Delivery, Route, Router

if TYPE_CHECKING:
    from bus.connect import Bus

_ROUTES_REMEMBERED = 10_000

log = structlog.get_logger("bus")


@dataclass(frozen=True)
class Failure:
    """Why an event failed: `park` now, or retry after `after_s` (None: the next delay of the schedule)."""

    reason: str
    park: bool
    after_s: float | None = None


Outcome = Failure | Unavailable | None


def classed(error: Exception) -> Failure:
    """What a handler's exception means for its event. Unavailable is not the event's own and never comes
    here."""
    if isinstance(error, Reject | Malformed):
        return Failure(str(error), park=True)
    if isinstance(error, Retry):
        return Failure(str(error), park=False, after_s=error.after_s)
    text = str(error)
    return Failure(f"{type(error).__name__}: {text}" if text else type(error).__name__, park=False)


class Handling:
    """The handlers of one router in one process."""

    def __init__(
        self, router: Router, subscription: str, bus: Bus, counts: metrics.SubscriptionMetrics
    ) -> None:
        self.watchdog = Watchdog(bus.clock, router.deadline_s)
        self._router = router
        self._subscription = subscription
        self._bus = bus
        self._counts = counts
        self._routes: dict[str, tuple[Route, ...]] = {}
        inbox = dedupe.shared(router.inbox) if router.inbox else dedupe.in_memory(dedupe.MemoryInbox())
        handle = inbox(self.watchdog.wrap(cast(Handle, self._dispatch)))
        self._handle = tracing.wrap(metrics.counting(counts, bus.clock)(handle))
        self._handle_batch = self.watchdog.wrap(router.batch.handler) if router.batch else None

    async def one(self, event: Event, attempt: int) -> Outcome:
        """Handle one event."""
        try:
            await self._handle(Delivery(event, attempt, self._subscription, self._bus))
        except Unavailable as error:
            return error
        except Exception as error:
            if not isinstance(error, BusError):
                log.warning(
                    "handler failed",
                    subscription=self._subscription,
                    event_id=event.id,
                    trace=trace_of(error),
                )
            return classed(error)
        return None

    async def batch(self, events: list[Event]) -> Outcome:
        """Handle many events in one call."""
        assert self._handle_batch is not None
        monotonic = self._bus.clock.monotonic
        started = monotonic()
        try:
            await self._handle_batch(events)
        except Unavailable as error:
            return error
        except Exception as error:
            self._counts.failed += len(events)
            if not isinstance(error, BusError):
                log.warning("batch handler failed", subscription=self._subscription, trace=trace_of(error))
            return classed(error)
        self._counts.handled += len(events)
        self._counts.duration_sum_s += monotonic() - started
        return None

    async def _dispatch(self, delivery: Delivery) -> None:
        event = delivery.event
        topic = f"{event.type}.{event.key}"
        routes = self._routes.get(topic)
        if routes is None:
            if len(self._routes) >= _ROUTES_REMEMBERED:
                self._routes.clear()
            routes = tuple(route for route in self._router.routes if route.matcher(topic))
            self._routes[topic] = routes
        if not routes:
            raise Reject(f"subscription {self._subscription} has no handler for {topic}")
        for route in routes:
            message = route.message
            await route.handler(event if message is None else event.read(message), delivery)
