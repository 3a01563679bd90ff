"""What `up`, `run` and `demo` share: settings, logs, the bus, and the services on it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bus.connect import Bus, connect
from services import catalog
from services.chassis import config, telemetry
from services.chassis.config import Loaded
from services.chassis.host import Host, Part, Shared, open_host
from services.chassis.limits import open_limits
from services.chassis.redis import open_inbox
from services.chassis.secrets import Secrets, open_secrets
from services.cli import exits, version
from services.cli.exits import Trouble

DRAIN_S = 10.0
JOURNAL = "bus.journal"
TARGETS = "targets_allow"
AT_HOME = ("loopback", "private")


def prepare(data_dir: Path | None, *, quiet: bool) -> Loaded:
    """Read the settings, make the data folder, begin to log. quiet: only warnings, unless a level was set.
    Raises ConfigInvalid, Trouble."""
    loaded = config.load(catalog.config_types(), data_dir=data_dir)
    settings = loaded.settings
    level = settings.log_level
    if level == "auto":
        level = "warning" if quiet else "info"
    form = settings.log_format
    if form == "auto":
        form = "pretty" if sys.stderr.isatty() else "json"
    telemetry.configure(form, level)
    try:
        loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # captured calls hold secrets
    except OSError as error:
        raise Trouble(
            f"the data folder {loaded.data_dir} cannot be made: {error.strerror}",
            remedy="Choose another with --data-dir or TRUNKLINE_DATA_DIR.",
            exit_code=exits.CONFIG,
        ) from error
    return loaded


def at_home(loaded: Loaded) -> Loaded:
    """The settings as `up` takes them: who runs everything on one machine calls what is on it, and beside
    it, unless the targets to allow were set."""
    if TARGETS in loaded.given:
        return loaded
    rooms = {
        name: room if f"{name}.{TARGETS}" in loaded.given else _reaching(room)
        for name, room in loaded.rooms.items()
    }
    return msgspec.structs.replace(loaded, settings=_reaching(loaded.settings), rooms=rooms)


def _reaching(settings: Any) -> Any:
    known = TARGETS in settings.__struct_fields__
    return msgspec.structs.replace(settings, **{TARGETS: AT_HOME}) if known else settings


@asynccontextmanager
async def system(
    services: Sequence[str], loaded: Loaded, *, signals: bool = True
) -> AsyncIterator[tuple[Bus, Host]]:
    """The bus, and these services on it, ready. With every catalogued subscription declared before anything
    is published, so that a service that runs later misses nothing. Raises CannotOpen."""
    parts = [
        Part(room.name, room.build, loaded.rooms[room.name])
        for room in (catalog.load(name) for name in services)
    ]
    subscriptions = catalog.contracts().subscriptions
    keys = installation_key(services, loaded)
    async with (
        open_inbox(loaded.settings.redis_url) as inbox,
        connect(bus_url(loaded), source="host", subscriptions=subscriptions) as bus,
        open_limits(loaded.settings.redis_url, bus.clock) as limits,
        open_host(
            bus,
            parts,
            data_dir=loaded.data_dir,
            version=version(),
            drain_s=DRAIN_S,
            signals=signals,
            shared=Shared(keys, limits, inbox),
        ) as host,
    ):
        yield bus, host


def installation_key(services: Sequence[str], loaded: Loaded) -> Secrets:
    """The key that is set, else that of the data folder, where one process that runs everything makes it.
    Raises CannotOpen."""
    settings = loaded.settings
    alone = settings.bus_url.startswith("embedded:") or set(services) == set(catalog.SERVICES)
    return open_secrets(settings.secret_key, loaded.data_dir, make=alone)


def bus_url(loaded: Loaded) -> str:
    """The bus's address; `embedded:` without a path is the journal in the data folder."""
    if loaded.settings.bus_url == "embedded:":
        return f"embedded:{quote(str(loaded.data_dir / JOURNAL))}"
    return loaded.settings.bus_url


def ending(host: Host) -> int:
    """The exit code of a process whose services have drained."""
    if host.overdue:
        raise Trouble(
            f"not drained within {DRAIN_S:g} s, ended anyway: {', '.join(host.overdue)}",
            remedy="What they had in hand is taken up at the next start.",
            exit_code=exits.DOWN,
        )
    return exits.OK
