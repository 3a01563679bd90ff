"""`trunkline health`: whether what runs on this host is well, by what it says on the bus. For the health
checks of containers, each a host of its own, whose services have no port to ask at.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from services.cli import exits
from services.cli.exits import Trouble

if TYPE_CHECKING:
    from services.chassis.config import Loaded


def health(
    *, timeout: Annotated[float, Parameter(name="--timeout", help="Seconds that the bus has.")] = 8.0
) -> int:
    """Whether every service on this host is ready. Exit code 1 when one is not, or none beats."""
    from services import catalog
    from services.chassis import config, telemetry
    from services.chassis.host import run_loop

    loaded = config.load(catalog.config_types())
    if loaded.settings.bus_url.startswith("embedded:"):
        raise Trouble(
            "an embedded bus serves the process that has it, and nobody can ask on it",
            remedy="Ask the API: `trunkline status`.",
            exit_code=exits.CONFIG,
        )
    telemetry.configure("json", "error")
    return run_loop(_health(loaded, timeout))


async def _health(loaded: Loaded, timeout_s: float) -> int:
    import platform

    from bus.connect import connect
    from bus.errors import Unavailable
    from schemas.mission_control import SILENT_AFTER_S, ListServices

    try:
        async with asyncio.timeout(timeout_s), connect(loaded.settings.bus_url, source="cli") as bus:
            listed = await bus.ask(ListServices())
    except TimeoutError as error:
        raise Unavailable(f"the bus has not answered within {timeout_s:g} s") from error
    here = [
        seen for seen in listed.services if seen.host == platform.node() and seen.beat_age_s <= SILENT_AFTER_S
    ]
    for seen in here:
        print(f"{seen.service} {seen.state}" + (f": {seen.trouble}" if seen.trouble else ""))
    if not here:
        print(f"no service beats on {platform.node()}")
    return exits.OK if here and all(seen.state == "ready" for seen in here) else exits.NO
