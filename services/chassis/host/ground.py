"""What the host and a room agree on: the ground a service stands on, and what the host needs to run it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bus.clock import Clock
from bus.connect import Bus
from bus.ids import Ids
from bus.middleware.dedupe import Inbox

if TYPE_CHECKING:
    from services.chassis.limits import Limits
    from services.chassis.secrets import Secrets


class Shared(msgspec.Struct, frozen=True):
    """What every service of a process has in common, and those of other processes by their settings.

    secrets: the installation's key. limits: how often something may be done. inbox: for routers whose
    effects cannot simply be repeated; None means this process's memory."""

    secrets: Secrets
    limits: Limits
    inbox: Inbox | None = None

    @classmethod
    def alone(cls, clock: Clock) -> Shared:
        """A key that ends with this process, and limits that nobody else sees."""
        from secrets import token_bytes

        from services.chassis.limits.memory import MemoryLimits
        from services.chassis.secrets import KEY_BYTES, Secrets

        return cls(Secrets([token_bytes(KEY_BYTES)]), MemoryLimits(clock))


class Ground(msgspec.Struct, frozen=True):
    """What a service stands on, made by the host and handed to its `build`.

    bus: with the service's name as `source`. data_dir: the installation's folder; a service writes below
    `data_dir / <name>`. announce(name, value): tells the host what was found out at start ("url" ->
    "http://127.0.0.1:7080"), for the status page and the person at the terminal.
    """

    bus: Bus
    clock: Clock
    ids: Ids
    data_dir: Path
    announce: Callable[[str, str], None]
    shared: Shared


class Service(Protocol):
    """A room's `service.build`: `async with build(config, ground)` = ready; leaving it = drained."""

    def __call__(self, config: Any, ground: Ground) -> AbstractAsyncContextManager[None]: ...


class Part(msgspec.Struct, frozen=True):
    """One service to run, with its settings."""

    name: str
    build: Service
    config: Any
