"""`trunkline up`: everything in this process, on one machine, with nothing to install.

On the first start it makes a bucket and a token and writes them, with the addresses, to `credentials.toml` in
the data folder (`settling`).
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from services.cli import credentials as stored
from services.cli import version
from services.cli.credentials import Credentials

if TYPE_CHECKING:
    from services.chassis.config import Loaded


def up(
    *,
    sample: Annotated[bool, Parameter(help="Run a small sample API beside it, to send calls to.")] = False,
    data_dir: Annotated[Path | None, Parameter(name="--data-dir", help="Where everything is kept.")] = None,
    json: Annotated[bool, Parameter(name="--json", help="Say where it is as one line of JSON.")] = False,
) -> int:
    """Start everything in this process. Ctrl-C ends it and loses nothing."""
    from services.chassis.host import run_loop
    from services.cli.running import at_home, prepare

    return run_loop(_up(at_home(prepare(data_dir, quiet=True)), sample=sample, as_json=json))


async def _up(loaded: Loaded, *, sample: bool, as_json: bool) -> int:
    from bus.errors import BusError
    from services import catalog
    from services.cli.exits import Trouble
    from services.cli.running import ending, system
    from services.cli.settling import settle

    async with system(catalog.SERVICES, loaded) as (bus, host):
        if not host.stopping:
            async with AsyncExitStack() as beside:
                sample_url = None
                if sample:
                    from services.cli.sample import serve_sample

                    sample_url = await beside.enter_async_context(serve_sample(bus.clock))
                try:
                    found, first = await settle(
                        bus,
                        loaded,
                        api_url=host.announced("api").get("url", ""),
                        gateway_url=host.announced("traffic_gateway").get("url", ""),
                    )
                except (BusError, Trouble):
                    if not host.stopping:
                        raise  # stopped while it started, it has nothing more to tell
                else:
                    _tell(found, loaded, sample_url, first=first, as_json=as_json)
                await host.until_stopped()
                if not as_json:
                    print("\nEnding: finishing what is in hand. Ctrl-C again ends at once.", flush=True)
    return ending(host)


def _tell(found: Credentials, loaded: Loaded, sample_url: str | None, *, first: bool, as_json: bool) -> None:
    if as_json:
        document = {
            "api_url": found.api_url,
            "gateway_url": found.gateway_url,
            "bucket": found.bucket,
            "data_dir": str(loaded.data_dir),
            "credentials": str(loaded.data_dir / stored.FILE_NAME),
            "sample_url": sample_url,
        }
        print(json.dumps(document), flush=True)
        return
    from services.calls import address

    target = f"{sample_url}/teas" if sample_url else "https://example.com/"
    through = address.at_path(found.gateway_url, found.bucket, target)
    rows = [
        ("Gateway", found.gateway_url),
        ("API", f"{found.api_url}  (what it can do: {found.api_url}/v1/docs)"),
        ("Bucket", found.bucket),
        ("Data", str(loaded.data_dir)),
    ]
    reached = ("the internet", *loaded.rooms["traffic_gateway"].targets_allow)
    rows.append(("Targets", f"{', '.join(reached)}  (TRUNKLINE_TARGETS_ALLOW)"))
    if sample_url:
        rows.insert(2, ("Sample", f"{sample_url}  (a small tea shop to send calls to)"))
    if loaded.file is not None:
        rows.append(("Settings", str(loaded.file)))
    if first:
        rows.append(("Token", f"{found.token}  (kept in {stored.FILE_NAME})"))
    _page(rows, f"curl {through}", first=first)


def _page(rows: list[tuple[str, str]], example: str, *, first: bool) -> None:
    from services.cli.render import console

    out = console()
    out.print(f"\n[bold green]Trunkline {version()} is up.[/]\n")
    for name, value in rows:
        out.print(f"  [dim]{name:<9}[/]{value}", soft_wrap=True, markup=True)
    out.print("\n  Send a call through it, then look at it:" if first else "\n  Send a call through it:")
    out.print(f"\n    [bold]{example}[/]", soft_wrap=True)
    out.print("    [bold]trunkline calls[/]          [dim]in another terminal; `trunkline tail` follows[/]")
    out.print("    [bold]trunkline show last[/]\n")
    out.print("  [dim]Ctrl-C ends it and loses nothing.[/]", end="\n\n")
    out.file.flush()
