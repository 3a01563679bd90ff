"""`trunkline setup`: the first bucket and token of an installation whose services run as processes of their
own.

What `up` does by itself, over the bus that the services share, once all of them run with one key of the
installation. It can be repeated: what is there stays, and is told again, but for the token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from services.cli import credentials as stored
from services.cli import exits
from services.cli.exits import Trouble

if TYPE_CHECKING:
    from bus.connect import Bus
    from schemas.mission_control import ServiceSeen
    from services.chassis.config import Loaded
    from services.cli.credentials import Credentials

AGAIN_S = 0.5


def setup(
    *,
    wait: Annotated[float, Parameter(name="--wait", help="Seconds to wait for the services.")] = 60.0,
    data_dir: Annotated[
        Path | None, Parameter(name="--data-dir", help="Where credentials.toml is written.")
    ] = None,
    json: Annotated[bool, Parameter(name="--json", help="Say where it is as one line of JSON.")] = False,
) -> int:
    """Make the first bucket and token of services that `trunkline run` started, and credentials.toml."""
    from services.chassis.host import run_loop
    from services.cli.running import prepare

    return run_loop(_setup(prepare(data_dir, quiet=True), wait_s=wait, as_json=json))


async def _setup(loaded: Loaded, *, wait_s: float, as_json: bool) -> int:
    from bus.connect import connect
    from services import catalog
    from services.cli.running import bus_url
    from services.cli.settling import settle

    subscriptions = catalog.contracts().subscriptions
    async with connect(bus_url(loaded), source="cli", subscriptions=subscriptions) as bus:
        urls = await announced(bus, wait_s)
        found, first = await settle(bus, loaded, api_url=urls["api"], gateway_url=urls["traffic_gateway"])
    _tell(found, loaded, first=first, as_json=as_json)
    return exits.OK


async def announced(bus: Bus, wait_s: float) -> dict[str, str]:
    """Where gateway and API are, as they say themselves, once identity and the vault run too, all with one
    key. Raises Trouble."""
    from bus.errors import AskFailed, Unavailable
    from schemas.mission_control import SILENT_AFTER_S, ListServices
    from services import catalog

    running: list[ServiceSeen] = []
    ready: dict[str, str] = {}
    until = bus.clock.monotonic() + wait_s
    while True:
        try:
            async with asyncio.timeout(max(wait_s, 1.0)):
                listed = await bus.ask(ListServices())
            running = [
                seen
                for seen in listed.services
                if seen.state == "ready" and seen.beat_age_s <= SILENT_AFTER_S
            ]
            ready = {seen.service: seen.announced.get("url", "") for seen in running}
        except (AskFailed, Unavailable, TimeoutError):
            pass  # no host runs yet, or the broker is on its way
        absent = [name for name in catalog.SERVICES if name not in ready]
        if not absent:
            _check_keys(running)
            return ready
        if bus.clock.monotonic() >= until:
            raise Trouble(
                f"not ready on this bus within {wait_s:g} s: {', '.join(absent)}",
                remedy="Start them with `trunkline run`, on the same TRUNKLINE_BUS_URL, and try again.",
                exit_code=exits.DOWN,
            )
        await bus.clock.sleep(AGAIN_S)


def _check_keys(running: Sequence[ServiceSeen]) -> None:
    """Raises Trouble when not all have the same key of the installation, of which they tell the id."""
    having: dict[str, set[str]] = {}
    for seen in running:
        having.setdefault(seen.announced.get("key", ""), set()).add(seen.service)
    having.pop("", None)
    if len(having) > 1:
        told = "; ".join(f"{key}: {', '.join(sorted(names))}" for key, names in sorted(having.items()))
        raise Trouble(
            f"the services have different keys of the installation ({told})",
            remedy="Give every process the same TRUNKLINE_SECRET_KEY; start those again that had another.",
            exit_code=exits.CONFIG,
        )


def _tell(found: Credentials, loaded: Loaded, *, first: bool, as_json: bool) -> None:
    file = loaded.data_dir / stored.FILE_NAME
    if as_json:
        document = {
            "api_url": found.api_url,
            "gateway_url": found.gateway_url,
            "bucket": found.bucket,
            "credentials": str(file),
            "first": first,
        }
        print(json.dumps(document), flush=True)
        return
    rows = [("Gateway", found.gateway_url), ("API", found.api_url), ("Bucket", found.bucket)]
    if first:
        rows.append(("Token", found.token))
    rows.append(("Kept in", str(file)))
    for name, value in rows:
        print(f"  {name:<9}{value}")
