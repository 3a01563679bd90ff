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
    well = bool(services) and all(service["well"] for service in services)
    if where.json:
        document = {
            "well": well,
            "api_url": credentials.api_url,
            "gateway_url": credentials.gateway_url,
            "services": services,
        }
        print(json.dumps(document, indent=2))
    else:
        _print(services)
    return exits.OK if well else exits.NO


def _print(services: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from services.cli import render

    console = render.console()
    table = Table(
        "service", "state", "beat", "where", "restarts", "url", box=None, pad_edge=False, header_style="dim"
    )
    for service in services:
        state = "silent" if service["silent"] else service["state"]
        table.add_row(
            service["service"],
            Text(state, style=_STYLES.get(state, "bold red")),
            f"{service['beat_age_s']:.0f} s ago",
            f"{service['host']} {service['pid']}",
            str(service["restarts"]) if service["restarts"] else "",
            service["announced"].get("url", ""),
        )
    console.print(table)
    for service in services:
        if service["trouble"] and not service["well"]:
            console.print(Text(f"{service['service']}: {service['trouble']}", style="yellow"))
