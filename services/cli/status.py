"""`trunkline status`: every service that beats on the bus, as the API's hosts heard it."""

from __future__ import annotations

import json
from typing import Any

from schemas.mission_control import SILENT_AFTER_S
from services.cli import exits
from services.cli.client import Api
from services.cli.where import ANYWHERE, Where

_STYLES = {"ready": "green", "starting": "cyan", "draining": "cyan", "stopped": "dim", "waiting": "yellow"}


def status(*, where: Where = ANYWHERE) -> int:
    """Which services run, and how they are. Exit code 1 when one is not well."""
    credentials = where.credentials()
    with Api(credentials) as api:
        services = api.get("/v1/services")["services"]
    for service in services:
        service["silent"] = service["beat_age_s"] > SILENT_AFTER_S and service["state"] != "stopped"
        service["well"] = service["state"] in ("ready", "stopped", "draining") and not service["silent"]
    keys = keys_of(services)
    well = bool(services) and all(service["well"] for service in services)
    if where.json:
        document = {
            "well": well,
            "api_url": credentials.api_url,
            "gateway_url": credentials.gateway_url,
            "keys": keys,
            "services": services,
        }
        print(json.dumps(document, indent=2))
    else:
        _print(services, keys)
    return exits.OK if well else exits.NO


def keys_of(services: list[dict[str, Any]]) -> list[str]:
    """The ids of the installation keys that those which run were started with. There should be one: what one
    has sealed, the others must open."""
    running = (service for service in services if service["state"] != "stopped" and not service["silent"])
    return sorted({service["announced"].get("key", "") for service in running} - {""})


def _print(services: list[dict[str, Any]], keys: list[str]) -> None:
    from rich.text import Text

    from services.cli import render

    console = render.console()
    table = render.plain_table("service", "state", "beat", "where", "restarts", "key", "url")
    for service in services:
        state = "silent" if service["silent"] else service["state"]
        table.add_row(
            service["service"],
            Text(state, style=_STYLES.get(state, "bold red")),
            f"{service['beat_age_s']:.0f} s ago",
            f"{service['host']} {service['pid']}",
            str(service["restarts"]) if service["restarts"] else "",
            service["announced"].get("key", ""),
            service["announced"].get("url", ""),
        )
    console.print(table)
    if len(keys) > 1:
        differ = f"services run with different keys ({', '.join(keys)}): what one seals, others cannot open."
        console.print(Text(f"{differ} Give all of them the same TRUNKLINE_SECRET_KEY.", style="yellow"))
    for service in services:
        if service["trouble"] and not service["well"]:
            console.print(Text(f"{service['service']}: {service['trouble']}", style="yellow"))
