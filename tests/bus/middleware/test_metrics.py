"""Counts per subscription."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest

from bus.connect import Bus
from bus.event import Event
from bus.middleware import Handled, metrics
from bus.router import Delivery
from bus.testing import ManualClock


async def test_what_is_handled_is_counted_with_its_duration_and_what_fails_without() -> None:
    clock, counts = ManualClock(), metrics.SubscriptionMetrics()
    durations = [0.0005, 0.3, 100.0]

    async def proceed(delivery: Handled) -> None:
        if not durations:
            raise ValueError
        clock._elapsed_s += durations.pop(0)

    handle = metrics.counting(counts, clock)(proceed)
    event = Event("e", "s", "a.b", 1, "_", None, datetime(2026, 1, 1, tzinfo=UTC))
    delivery = Delivery(event, 0, "billing", cast(Bus, None))
    for _ in range(3):
        await handle(delivery)
    with pytest.raises(ValueError):
        await handle(delivery)
    assert (counts.handled, counts.failed) == (3, 1)
    assert counts.duration_sum_s == pytest.approx(100.3005)
    assert counts.duration_counts[0] == 1
    assert counts.duration_counts[metrics.BOUNDS_S.index(0.5)] == 1
    assert counts.duration_counts[-1] == 1
    assert sum(counts.duration_counts) == 3
