"""`python -m bench vault [--engine sqlite,postgres] [--calls 10000,1000000] [--only
ingest,queries,scan,rebuild]`: the measurements of the vault. PostgreSQL's need TRUNKLINE_TEST_POSTGRES_URL,
the ingest's the environment of `bench/peers/eventsourcing.lock`; `make bench` has both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from bench.vault import ingest, queries, reading

ENGINES = ("sqlite", "postgres")
PARTS = ("ingest", "queries", "scan", "rebuild")
SIZES = (10_000, 1_000_000)


async def run(arguments: Sequence[str] = ()) -> None:
    options = _parser().parse_args(arguments)
    if "ingest" in options.only:
        await ingest.run(options.engine, *([max(options.calls)] if options.calls else []))
    if "queries" in options.only:
        await queries.run(options.engine, options.calls or SIZES)
    if "scan" in options.only:
        await reading.scan(options.engine, *([max(options.calls)] if options.calls else []))
    if "rebuild" in options.only:
        await reading.rebuild(options.engine, *([max(options.calls)] if options.calls else []))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench vault")
    parser.add_argument("--engine", type=_some_of(ENGINES), default=ENGINES, help=",".join(ENGINES))
    parser.add_argument("--only", type=_some_of(PARTS), default=PARTS, help=",".join(PARTS))
    parser.add_argument(
        "--calls", type=_numbers, default=None, help="how many; of queries, each size in turn"
    )
    return parser


def _some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        wanted = tuple(text.split(","))
        if unknown := [name for name in wanted if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return wanted

    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number.replace("_", "")) for number in text.split(","))
