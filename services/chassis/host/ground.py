"""What the host and a room agree on: the ground a service stands on, and what the host needs to run it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bus.clock import Clock
from bus.connect import Bus
from bus.ids import Ids
from bus.middleware.dedupe import Inbox


class Ground(msgspec.Struct, frozen=True):
    """What a service stands on, made by the host and handed to its `build`.

    bus: with the service's name as `source`. data_dir: the installation's folder; a service writes below
    `data_dir / <name>`. announce(name, value): tells the host what was found out at start ("url" ->
    "http://127.0.0.1:7080"), for the status page and the person at the terminal. inbox: for routers whose
    effects cannot simply be repeated; None means this process's memory.
    """

    bus: Bus
    clock: Clock
    ids: Ids
    data_dir: Path
    announce: Callable[[str, str], None]
    inbox: Inbox | None = None


class Service(Protocol):
    """A room's `service.build`: `async with build(config, ground)` = ready; leaving it = drained."""

    def __call__(self, config: Any, ground: Ground) -> AbstractAsyncContextManager[None]: ...


class Part(msgspec.Struct, frozen=True):
    """One service to run, with its settings."""

    name: str
    build: Service
    config: Any
