"""`trunkline up`: everything in this process, on one machine, with nothing to install.

On the first start it makes a bucket and a token and writes them, with the addresses, to `credentials.toml` in
the data folder. The file is written before they are made and both commands can be repeated, so that a start
that was cut off is taken up by the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

from cyclopts import Parameter

from services.cli import credentials as stored
from services.cli import version
from services.cli.credentials import Credentials

if TYPE_CHECKING:
    from bus.connect import Bus
    from services.chassis.config import Loaded
    from services.chassis.host import Host

ENSURE_WITHIN_S = 15.0
AGAIN_S = 0.2
TEAM = "default"

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


def up(
    *,
    sample: Annotated[bool, Parameter(help="Run a small sample API beside it, to send calls to.")] = False,
    data_dir: Annotated[Path | None, Parameter(name="--data-dir", help="Where everything is kept.")] = None,
    json: Annotated[bool, Parameter(name="--json", help="Say where it is as one line of JSON.")] = False,
) -> int:
    """Start everything in this process. Ctrl-C ends it and loses nothing."""
    from services.chassis.host import run_loop
    from services.cli.running import prepare

    return run_loop(_up(prepare(data_dir, quiet=True), sample=sample, as_json=json))


async def _up(loaded: Loaded, *, sample: bool, as_json: bool) -> int:
    from bus.errors import BusError
    from services import catalog
    from services.cli.exits import Trouble
    from services.cli.running import ending, system

    async with system(catalog.SERVICES, loaded) as (bus, host):
        if not host.stopping:
            async with AsyncExitStack() as beside:
                sample_url = None
                if sample:
                    from services.cli.sample import serve_sample

                    sample_url = await beside.enter_async_context(serve_sample(bus.clock))
                try:
                    found, first = await settle(bus, host, loaded)
                except (BusError, Trouble):
                    if not host.stopping:
                        raise  # stopped while it started, it has nothing more to tell
                else:
                    _tell(found, loaded, sample_url, first=first, as_json=as_json)
                await host.until_stopped()
                if not as_json:
                    print("\nEnding: finishing what is in hand. Ctrl-C again ends at once.", flush=True)
    return ending(host)


async def settle(bus: Bus, host: Host, loaded: Loaded) -> tuple[Credentials, bool]:
    """Credentials that work, and whether they are new. Raises BusError, Trouble."""
    from bus.errors import Refused

    file = loaded.data_dir / stored.FILE_NAME
    known = stored.read(file)
    api_url = near(host.announced("api").get("url", known.api_url if known else ""))
    gateway_url = near(host.announced("traffic_gateway").get("url", known.gateway_url if known else ""))
    bucket, token = (known.bucket, known.token) if known else ("", "")
    for attempt in range(2):
        wanted = Credentials(api_url, gateway_url, bucket or new_key(), token or new_secret())
        if wanted != known:
            stored.write(file, wanted)
        try:
            await _ensure(bus.as_source("cli"), wanted)
        except Refused:
            # The bucket was deleted, or the token revoked, by somebody who meant it: begin with new ones.
            if attempt:
                raise
            bucket = token = ""
        else:
            break
    return wanted, known is None or (wanted.bucket, wanted.token) != (known.bucket, known.token)


async def _ensure(bus: Bus, wanted: Credentials) -> None:
    """The bucket and the token are there. Waits a little for identity and the vault. Raises BusError, Refused
    when they cannot be had."""
    from bus.errors import AskFailed, Refused, Unavailable

    try:
        async with asyncio.timeout(ENSURE_WITHIN_S):
            while True:
                try:
                    return await _ask(bus, wanted)
                except Refused:
                    raise
                except (Unavailable, AskFailed) as error:
                    last = error
                    await bus.clock.sleep(AGAIN_S)
    except TimeoutError:
        raise last from None


async def _ask(bus: Bus, wanted: Credentials) -> None:
    from bus.errors import Refused
    from bus.ids import derived
    from schemas.identity import CreateToken, GetBucket, PutBucket
    from schemas.operation import Scope

    try:
        await bus.ask(GetBucket(wanted.bucket))
    except Refused:
        command_id = derived("up", "bucket", wanted.bucket)
        await bus.ask(PutBucket(command_id, "first bucket", key=wanted.bucket, team=TEAM))
        await bus.ask(GetBucket(wanted.bucket))  # a repeat is answered as the first time, deleted or not
    scopes = tuple(get_args(Scope))
    digest = hashlib.sha256(wanted.token.encode()).hexdigest()
    command_id = derived("up", "token", digest, *scopes)
    await bus.ask(CreateToken(command_id, "first token", digest, scopes, team=TEAM))


def near(url: str) -> str:
    """A listener's address as this machine calls it: "all addresses" is none that one can connect to."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def new_key() -> str:
    """A bucket key: 12 random letters and digits, a letter first, so that it can begin a host name
    everywhere."""
    return secrets.choice(_LETTERS) + "".join(secrets.choice(_LETTERS + _DIGITS) for _ in range(11))


def new_secret() -> str:
    """A token: `tl_` and 43 characters of base62, 256 random bits."""
    alphabet = _DIGITS + _LETTERS + _LETTERS.upper()
    return "tl_" + "".join(secrets.choice(alphabet) for _ in range(43))


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
