"""Ingest: a backlog of calls from an embedded bus into log and call rows, beside the `eventsourcing` library
appending as many bytes in batches of the same size to the same engine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import Report, middle
from bench.vault.sides import PEER, ROOT, database, own_side, side
from services.request_vault.config import Config

ROUNDS = 3
EVENT_BYTES = 760
"""Of a call's encoded envelope: about the least that a whole call has."""
CALLS = 200_000
VAULT = "trunkline, bus to log and call rows"
APPLICATION = "eventsourcing, application.save"
RECORDER = "eventsourcing, recorder alone"
PEERS = {APPLICATION: "application", RECORDER: "recorder"}


async def _round(engine: str, name: str, calls: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with database(engine, "bench_ingest", Path(folder)) as url:
            if name == VAULT:
                return await own_side("ingesting", url, folder, calls, EVENT_BYTES)
            program = str(ROOT / "bench" / "vault" / "with_eventsourcing.py")
            sizes = (calls, EVENT_BYTES, Config().batch_events)
            return await side(str(PEER), program, PEERS[name], url, *map(str, sizes))


async def run(engines: Sequence[str], calls: int = CALLS) -> None:
    report = Report(
        "vault-ingest",
        f"Vault: events a second to committed rows, {EVENT_BYTES} bytes an event, two processor cores",
        'make bench ARGS="vault --only ingest"',
        ["", "engine", "events", "events/s", "slowest", "fastest", "x application", "x recorder"],
    )
    durability: set[str] = set()
    for engine in engines:
        rates: dict[str, list[float]] = {VAULT: [], **{name: [] for name in PEERS}}
        for _ in range(ROUNDS):
            for name, runs in rates.items():
                words = await _round(engine, name, calls)
                runs.append(words["calls"] / words["seconds"])
                durability.add(f"{engine}: {words['durability']}" if "durability" in words else "")
        middles = {name: middle(runs) for name, runs in rates.items()}
        for name, runs in rates.items():
            report.add(
                name,
                engine,
                calls,
                middles[name],
                min(runs),
                max(runs),
                middles[name] / middles[APPLICATION],
                middles[name] / middles[RECORDER],
            )
    report.notes = [
        f"Medians of {ROUNDS} rounds, the three in turn. The vault as its service runs it, the embedded bus",
        "in the same process: journal on disk, every batch acknowledged after its commit. Its rows are the",
        "record, the identity and the call with its indices. The library appends as many events a",
        f"transaction ({Config().batch_events}): as aggregates that are made, transcoded and saved",
        "(application), or as ready rows only (recorder).",
        f"The library's own durability, the vault's too: {', '.join(sorted(durability - {''}))}.",
    ]
    report.publish()
