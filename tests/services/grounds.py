"""The ground that a test puts a service on: what `host` makes, for one service without a host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bus.clock import Clock
from bus.connect import Bus
from services.chassis.host import Ground, Shared


def a_ground(
    bus: Bus,
    data_dir: Path,
    *,
    clock: Clock | None = None,
    announce: Callable[[str, str], None] | None = None,
    shared: Shared | None = None,
) -> Ground:
    """clock: the bus's unless given."""
    clock = clock or bus.clock
    return Ground(
        bus, clock, bus.ids, data_dir, announce or (lambda name, value: None), shared or Shared.alone(clock)
    )
