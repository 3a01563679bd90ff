"""The names of the services, and how to get at their parts. Adding a service means adding its name here.

Called by the command line and the host's callers. Nothing of a room is imported until it is asked for by
name, so that `trunkline --help` stays quick and a process that runs one service loads one service.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import msgspec
    from cyclopts import App

    from bus.message import Fact, Subscription
    from schemas.operation import Operation
    from services.chassis.config import Loaded
    from services.chassis.host import Service

SERVICES = ("traffic_gateway", "request_vault", "identity", "api")
# mission_control has no room yet: the hosts send its heartbeats and answer for it.
CONTRACTS = (*SERVICES, "mission_control")


class ServiceUnknown(LookupError):
    """No service has this name. The message lists those that exist."""

    slug = "service-unknown"
    meaning = "A service was named that does not exist."
    remedy = "Use one of the names that the message lists."
    exit_code = 64


@dataclass(frozen=True)
class Room:
    """A service's parts: how it is built, its settings' type, its contract's module, and the first line of
    its purpose."""

    name: str
    build: Service
    config: type[msgspec.Struct]
    contract: ModuleType
    purpose: str


@dataclass(frozen=True)
class Contracts:
    """Every service's contract, put together. Before its first publish a process declares all
    `subscriptions`."""

    facts: tuple[type[Fact], ...]
    operations: tuple[Operation, ...]
    subscriptions: tuple[Subscription, ...]


@dataclass(frozen=True)
class Command:
    """A command-line verb, or a group of them, that a room brings along and that needs no server.

    make: its commands, given how settings are read (data folder, None for the usual one -> Loaded)."""

    name: str
    purpose: str
    make: Callable[[Callable[[Path | None], Loaded]], App]


def commands() -> tuple[Command, ...]:
    """The verbs of all rooms that have a `commands` module: it says in COMMANDS what each verb is for, and
    `app(verb, load)` makes it. Imports these modules, which are light, and nothing else of the rooms."""
    found = []
    for room in SERVICES:
        if importlib.util.find_spec(f"services.{room}.commands") is not None:
            module = importlib.import_module(f"services.{room}.commands")
            for name, purpose in module.COMMANDS.items():
                found.append(Command(name, purpose, partial(module.app, name)))
    return tuple(found)


def load(name: str) -> Room:
    """The room of that name, imported. Raises ServiceUnknown."""
    check(name)
    service = importlib.import_module(f"services.{name}.service")
    purpose = importlib.import_module(f"services.{name}").__doc__ or name
    return Room(
        name=name,
        build=service.build,
        config=config_type(name),
        contract=importlib.import_module(f"schemas.{name}"),
        purpose=purpose.strip().splitlines()[0],
    )


def config_type(name: str) -> type[msgspec.Struct]:
    """A room's settings' type. Imports its `config.py` only."""
    import msgspec

    check(name)
    found: Any = importlib.import_module(f"services.{name}.config").Config
    if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
        raise TypeError(f"services.{name}.config.Config is no msgspec.Struct")
    return found


def config_types() -> dict[str, type[msgspec.Struct]]:
    """The settings' types of all rooms: what a configuration file and the environment may name."""
    return {name: config_type(name) for name in SERVICES}


def contracts() -> Contracts:
    """All contracts, in the catalogue's order."""
    modules = [importlib.import_module(f"schemas.{name}") for name in CONTRACTS]
    return Contracts(
        facts=tuple(fact for module in modules for fact in module.FACTS),
        operations=tuple(operation for module in modules for operation in module.OPERATIONS),
        subscriptions=tuple(subscription for module in modules for subscription in module.SUBSCRIPTIONS),
    )


def check(name: str) -> None:
    """Raises ServiceUnknown unless there is a service of that name."""
    if name not in SERVICES:
        raise ServiceUnknown(f"there is no service {name!r}; there are: {', '.join(SERVICES)}")
