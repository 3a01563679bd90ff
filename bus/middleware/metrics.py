"""Counts what handlers do: per subscription, plain integers that a metrics endpoint reads.

Times are taken from the clock around the handler; the histogram's bounds are in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from bus.clock import Clock
from bus.middleware import Handle, Handled, Middleware

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass
class SubscriptionMetrics:
    """handled: handler returned. failed: handler raised (any kind). retried, parked: what became of the
    failed ones. paused: how often a dependency was away. duration_counts: handled events by BOUNDS_S, the
    last for those above."""

    handled: int = 0
    failed: int = 0
    retried: int = 0
    parked: int = 0
    paused: int = 0
    duration_sum_s: float = 0.0
    duration_counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))


def counting(metrics: SubscriptionMetrics, clock: Clock) -> Middleware:
    monotonic = clock.monotonic
    counts = metrics.duration_counts

    def wrap(proceed: Handle) -> Handle:
        async def counted(delivery: Handled) -> None:
            started = monotonic()
            try:
                await proceed(delivery)
            except BaseException:
                metrics.failed += 1
                raise
            took_s = monotonic() - started
            metrics.handled += 1
            metrics.duration_sum_s += took_s
            counts[bisect_left(BOUNDS_S, took_s)] += 1

        return counted

    return wrap
