"""What the demo does, in order, and what it says about it. Every number it prints was counted."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bus.clock import Clock, SystemClock
from services.cli import calls as calls_command
from services.cli import render
from services.cli import show as show_command
from services.cli.demo.stage import Stage
from services.cli.demo.traffic import Sending, Sent, plan, send, send_all
from services.cli.exits import NO, OK
from services.cli.sample import serve_sample
from services.cli.where import InBucket

STRICT_KEY = "strictorders"
STRICT_CALLS = 400
KILL_AFTER = 120
VISIBLE_WITHIN_S = 10.0


async def tell(*, keep: bool) -> int:
    """The whole demo. Returns the exit code."""
    out = render.console()
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        if keep:
            folder = Path(tempfile.mkdtemp(prefix="trunkline-demo-"))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-demo-")))
        stage = Stage(folder)
        stack.push_async_callback(stage.stop)
        _say(out, "Starting Trunkline", "gateway, vault, identity and API in one process, nothing installed")
        began = clock.monotonic()
        await stage.start()
        shop = await stack.enter_async_context(serve_sample(clock))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        out.print(f"  up in {clock.monotonic() - began:.1f} s; a small tea shop answers at {shop}\n")
        code = await _scenes(out, clock, stage, session, shop)
        if keep:
            out.print(f"[dim]The data folder is kept: {folder}[/]")
    return code


async def _scenes(out: Console, clock: Clock, stage: Stage, session: aiohttp.ClientSession, shop: str) -> int:
    sent = await _send(out, stage, session, shop)
    if not await _look(out, clock, stage, session, sent):
        return NO
    if not await _survive(out, clock, stage, session, shop):
        return NO
    _what_next(out)
    return OK


async def _send(out: Console, stage: Stage, session: aiohttp.ClientSession, shop: str) -> list[Sent]:
    sendings = plan()
    _say(
        out,
        "Sending calls",
        "JSON, forms, uploads, gzip, chunks, redirects, slow ones, errors, a dead server",
    )
    sent: list[Sent] = []
    with _progress(out) as progress:
        bar = progress.add_task("calls", total=len(sendings) + 3)

        def done(one: Sent) -> None:
            sent.append(one)
            progress.advance(bar)

        found = stage.found
        await send_all(session, sendings, found.gateway_url, found.bucket, shop, done)
        for _ in range(3):  # nobody listens there
            done(await send(session, Sending("GET", "/"), found.gateway_url, found.bucket, _dead_url()))
    kinds = Counter(f"{one.status // 100}xx" for one in sent)
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    out.print(f"  {len(sent)} calls went through the gateway: {said}\n")
    return sent


async def _look(
    out: Console, clock: Clock, stage: Stage, session: aiohttp.ClientSession, sent: list[Sent]
) -> bool:
    ids = {one.call_id for one in sent if one.call_id}
    kept = await _until_kept(clock, stage, session, stage.found.bucket, ids)
    _say(out, "What was captured", "trunkline calls --limit 12")
    where = InBucket(data_dir=stage.data_dir)
    await asyncio.to_thread(calls_command.calls, limit=12, where=where)
    missing = ids - kept.keys()
    out.print(
        f"\n  {len(kept)} of {len(ids)} are kept" + (f"; missing: {sorted(missing)}" if missing else "")
    )
    failed = [call for call in kept.values() if call["error"]]
    slow = max(kept.values(), key=lambda call: float(call["duration_ms"]))
    out.print(f"  {len(failed)} could not be answered by their target: {_errors(failed)}")
    out.print(f"  the slowest: {slow['method']} {slow['path']}, {render.duration(slow['duration_ms'])}\n")
    order = next(call for call in kept.values() if (call["method"], call["status"]) == ("POST", 201))
    _say(out, "One call, whole", f"trunkline show {render.short_id(order['id'], whole=False)}")
    await asyncio.to_thread(show_command.show, order["id"], where=where)
    _say(out, "The same as curl", "trunkline show --as curl")
    await asyncio.to_thread(show_command.show, order["id"], as_="curl", where=where)
    out.print()
    return not missing


async def _survive(
    out: Console, clock: Clock, stage: Stage, session: aiohttp.ClientSession, shop: str
) -> bool:
    _say(out, "Pulling the plug", "a strict bucket holds each answer until its capture is on disk")
    await stage.make_strict_bucket(session, STRICT_KEY)
    found = stage.found
    answered: set[str] = set()
    enough = asyncio.Event()

    def done(one: Sent) -> None:
        if one.call_id and one.status < 500:
            answered.add(one.call_id)
        if len(answered) >= KILL_AFTER:
            enough.set()

    async def kill_in_the_middle() -> None:
        await enough.wait()
        await stage.kill()

    sendings = [Sending("POST", "/orders", json={"tea": "assam", "quantity": 1}) for _ in range(STRICT_CALLS)]
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as doomed:
        tasks.create_task(kill_in_the_middle())
        await send_all(doomed, sendings, found.gateway_url, STRICT_KEY, shop, done)
    out.print(f"  {len(answered)} calls were answered when the process was ended with kill -9")
    began = clock.monotonic()
    await stage.start()
    kept = await _until_kept(clock, stage, session, STRICT_KEY, answered)
    missing = answered - kept.keys()
    took_s = clock.monotonic() - began
    out.print(f"  started again in {took_s:.1f} s: {len(answered & kept.keys())} of them are kept")
    if missing:
        out.print(f"  [bold red]missing: {sorted(missing)}[/]")
        return False
    out.print("  [bold green]none is missing[/]\n")
    return True


async def _until_kept(
    clock: Clock, stage: Stage, session: aiohttp.ClientSession, bucket: str, ids: set[str]
) -> dict[str, dict[str, Any]]:
    """The bucket's calls by id, once all of `ids` are among them, or what there is after VISIBLE_WITHIN_S."""
    until = clock.monotonic() + VISIBLE_WITHIN_S
    while True:
        kept: dict[str, dict[str, Any]] = {}
        cursor: str | None = ""
        while cursor is not None:
            query = f"?limit=500&cursor={cursor}" if cursor else "?limit=500"
            page = await stage.api(session, "GET", f"/v1/buckets/{bucket}/calls{query}")
            kept.update((call["id"], call) for call in page["calls"])
            cursor = page["next_cursor"]
        if ids <= kept.keys() or clock.monotonic() > until:
            return kept
        await clock.sleep(0.1)


def _dead_url() -> str:
    """An address of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def _errors(failed: list[dict[str, Any]]) -> str:
    return ", ".join(f"{count} {slug}" for slug, count in Counter(call["error"] for call in failed).items())


def _say(out: Console, title: str, about: str) -> None:
    out.print(f"[bold]{title}[/]  [dim]{about}[/]")


def _progress(out: Console) -> Progress:
    columns = (
        TextColumn("  "),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=out, transient=True)


def _what_next(out: Console) -> None:
    _say(out, "What next", "")
    activate = Path(sys.executable).with_name("activate")
    if shutil.which("trunkline") is None and activate.exists():
        shown = activate.relative_to(Path.cwd()) if activate.is_relative_to(Path.cwd()) else activate
        out.print(f"  . {shown!s:<39}so that `trunkline` is found", soft_wrap=True)
    out.print("  trunkline up --sample                    start it for yourself, with the tea shop")
    out.print("  trunkline url https://api.example.com/   the address to call instead of that one")
    out.print("  trunkline tail                           watch calls as they come")
    out.print("  trunkline replay last                    send the newest call again and compare")
    out.print("\n[dim]README.md has the first five minutes.[/]")
