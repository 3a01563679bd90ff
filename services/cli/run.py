"""`trunkline run SERVICE...`: some services in this process, as a scaled-out installation runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from services import catalog
from services.cli import exits
from services.cli.exits import Trouble


def run(
    *services: str,
    data_dir: Annotated[
        Path | None, Parameter(name="--data-dir", help="The installation's data folder.")
    ] = None,
) -> int:
    """Start only the services that are named, and log to standard error. Ctrl-C or SIGTERM drains them.

    Parameters
    ----------
    services
        Their names, such as `traffic_gateway api`.
    """
    if not services:
        raise Trouble(
            "no service is named",
            remedy=f"Name some of: {', '.join(catalog.SERVICES)}. `trunkline up` starts them all.",
            exit_code=exits.USAGE,
        )
    for name in services:
        catalog.check(name)
    from services.chassis.host import run_loop
    from services.cli.running import prepare

    return run_loop(_run(tuple(dict.fromkeys(services)), prepare(data_dir, quiet=False)))


async def _run(services: tuple[str, ...], loaded: object) -> int:
    import structlog

    from services.chassis.config import Loaded
    from services.cli.running import ending, system

    assert isinstance(loaded, Loaded)
    log = structlog.get_logger("services.host")
    log.info("starting", services=services, settings=loaded.shown(), file=loaded.file and str(loaded.file))
    async with system(services, loaded) as (_, host):
        for name in services:
            state = host.states()[name]
            log.info(f"service {state}", name=name, **host.announced(name))
        await host.until_stopped()
        log.info("draining")
    log.info("ended")
    return ending(host)
