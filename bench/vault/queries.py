"""Queries at several sizes: what a page, a search and a single call take while the vault ingests, and its
memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import Report, percentile
from bench.vault.querying import RATE, ROUNDS
from bench.vault.sides import database, own_side

WAYS = {"store": "port", "bus": "ask over the bus"}


async def run(engines: Sequence[str], sizes: Sequence[int]) -> None:
    latency = Report(
        "vault-queries",
        f"Vault: queries while it takes {RATE:,} calls a second, milliseconds",
        'make bench ARGS="vault --only queries"',
        ["", "engine", "through", "calls", "p50", "p99", f"p50 x {min(sizes):,} calls"],
    )
    memory = Report(
        "vault-memory",
        "Vault: resident memory of the process that holds it, MB",
        'make bench ARGS="vault --only queries"',
        ["", "calls", "ready", "after the queries", "ingested/s"],
    )
    built: list[str] = []
    small: dict[tuple[str, str, str], float] = {}
    for engine in engines:
        for size in sorted(sizes):
            with tempfile.TemporaryDirectory() as folder:
                async with database(engine, f"bench_queries_{size}", Path(folder)) as url:
                    made = await own_side("building", url, size)
                    built.append(
                        f"{engine} {size:,} calls in {made['seconds']:.0f} s, {made['size_mb']:,.0f} MB"
                    )
                    first = size
                    for way, name in WAYS.items():
                        words = await own_side("querying", way, url, folder, size, first)
                        first += 100_000  # past what this way has added
                        if words["indexed_s"] > 1:
                            built.append(f"its text index in {words['indexed_s']:.0f} s")
                        _add(latency, small, engine, name, size, words)
                        memory.add(
                            f"{engine}, {name}",
                            size,
                            words["rss_mb"],
                            words["rss_end_mb"],
                            words["ingested_per_s"],
                        )
    latency.notes = [
        f"{ROUNDS} queries of each kind, one after the other, pages of 50; three filters: status, method,",
        "and host or path. Over the bus, publisher and service share the process.",
        f"Built: {'; '.join(built)}.",
    ]
    latency.publish()
    memory.publish()


def _add(
    report: Report,
    small: dict[tuple[str, str, str], float],
    engine: str,
    through: str,
    size: int,
    words: dict[str, Any],
) -> None:
    for kind, values in words["latencies_ms"].items():
        middle = percentile(values, 0.5)
        base = small.setdefault((engine, through, kind), middle)
        report.add(kind, engine, through, size, middle, percentile(values, 0.99), middle / base)
