"""Mission control's contract: which services run, and how they are.

Every process beats for each service it runs. Until mission control has a room of its own, every host answers
`ListServices` from the beats it heard.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Ask, Fact, Signal, Subscription
from schemas.operation import Operation

BEAT_EVERY_S = 2.0
SILENT_AFTER_S = 3 * BEAT_EVERY_S

ServiceState = Literal["starting", "ready", "waiting", "draining", "stopped", "failed"]


class ServiceBeat(Signal, frozen=True):
    """One service in one process, every BEAT_EVERY_S seconds and when its state changes.

    instance: unique to one start of one process. state: `waiting` means that it crashed, or that something it
    needs is down, and that it is started again by itself; `failed` that it is not. restarts: since the
    process began. announced: what it found out at start, such as "url". trouble: the last failure, in one
    line.
    """

    TYPE = "mission_control.service.beat"

    service: str
    instance: str
    state: ServiceState
    host: str
    pid: int
    version: str
    started_at: datetime
    restarts: int = 0
    announced: dict[str, str] = msgspec.field(default_factory=dict)
    trouble: str | None = None


class ServiceSeen(msgspec.Struct, frozen=True):
    """beat_age_s: seconds since its last beat; more than SILENT_AFTER_S means that it is gone or cut off."""

    service: str
    instance: str
    state: ServiceState
    host: str
    pid: int
    version: str
    started_at: datetime
    restarts: int
    announced: dict[str, str]
    trouble: str | None
    beat_age_s: float


class ServiceList(msgspec.Struct, frozen=True):
    services: tuple[ServiceSeen, ...]


class ListServices(Ask[ServiceList], frozen=True):
    """Every instance that was heard within the last ten minutes, by service and start."""

    TYPE = "mission_control.services.list"


FACTS: tuple[type[Fact], ...] = ()
OPERATIONS = (
    Operation(ListServices, "GET", "/services", "status:read", "Which services run, where, and how they are"),
)
SUBSCRIPTIONS: tuple[Subscription, ...] = ()
