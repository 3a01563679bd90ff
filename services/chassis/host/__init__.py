"""Runs any set of services in one process: one bus, one TaskGroup, each service on a `Ground` of its own.

Called by `trunkline up` and `trunkline run` (through `run_loop`), and by tests. What it promises:

- `async with open_host(...)` is ready when every service is; services start side by side, in no order.
- A service that cannot start because of what it is or was told (a port that is taken, a bad setting, a
  journal in use) ends the start with ServiceFailed. One that only waits for something that is down
  (Unavailable) is tried again, and the others go on.
- A service that fails later is started again by itself, after 1, 2, 4 ... 60 s (back to 1 s once it ran a
  minute); the others go on. What it missed waits for it on the bus.
- SIGINT or SIGTERM drains all services within `drain_s`, then cancels what is left; a second signal ends the
  process at once.
- Every service beats (`ServiceBeat`), and every host answers `ListServices` from the beats it heard.
"""

from __future__ import annotations

from services.chassis.host.failing import ServiceFailed, leaves, told
from services.chassis.host.ground import Ground, Part, Service, Shared
from services.chassis.host.hosting import Host, open_host, run_loop

__all__ = [
    "Ground", "Host", "Part", "Service", "ServiceFailed", "Shared", "leaves", "open_host", "run_loop", "told",
]  # fmt: skip
