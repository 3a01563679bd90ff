"""The log read from its beginning, as a replay does, and the read model of calls built from it anew."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.report import Report, middle
from bench.vault.ingest import EVENT_BYTES
from bench.vault.sides import database, own_side

ROUNDS = 3
CALLS = 200_000
SIZES = {f"calls of {EVENT_BYTES} bytes": (EVENT_BYTES,), "calls with bodies of 400 bytes": ()}


async def scan(engines: Sequence[str], calls: int = CALLS) -> None:
    await _measure(
        "scan",
        engines,
        calls,
        Report(
            "vault-scan",
            "Vault: the whole log read through the port, in pages of 500 events or 512 KiB",
            'make bench ARGS="vault --only scan"',
            ["", "engine", "events", "events/s", "memory MB"],
        ),
    )


async def rebuild(engines: Sequence[str], calls: int = CALLS) -> None:
    await _measure(
        "rebuild",
        engines,
        calls,
        Report(
            "vault-rebuild",
            "Vault: the read model of calls built anew beside the old one, and swapped",
            'make bench ARGS="vault --only rebuild"',
            ["", "engine", "calls", "calls/s", "memory MB"],
        ),
    )


async def _measure(what: str, engines: Sequence[str], calls: int, report: Report) -> None:
    for engine in engines:
        for name, size in SIZES.items():
            with tempfile.TemporaryDirectory() as folder:
                async with database(engine, f"bench_{what}", Path(folder)) as url:
                    await own_side("building", url, calls, *size)
                    runs = [await own_side("scanning", what, url, folder) for _ in range(ROUNDS)]
            rates = [run["count"] / run["seconds"] for run in runs]
            report.add(name, engine, calls, middle(rates), max(run["rss_mb"] for run in runs))
    report.notes.append(f"Medians of {ROUNDS} rounds, each in a process of its own.")
    report.publish()
