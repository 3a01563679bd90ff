"""`python -m bench [api] [bus] [gateway] [redaction] [startup] [vault [options]]`: all of them when none is
named; the vault's options are in `bench/vault/run.py`. API, bus and gateway need a RabbitMQ, the vault a
PostgreSQL: `make bench` starts them."""

from __future__ import annotations

import asyncio
import os
import sys

from bench import startup
from bench.api import run as api
from bench.bus import run as bus
from bench.gateway import run as gateway
from bench.redaction import run as redaction
from bench.vault import run as vault

NAMES = ("api", "bus", "gateway", "redaction", "startup", "vault")


def _amqp_url() -> str:
    found = os.environ.get("TRUNKLINE_TEST_AMQP_URL")
    if found is None:
        raise SystemExit("a RabbitMQ is needed: run this with `make bench`")
    return found


async def main(arguments: list[str]) -> None:
    options_from = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    wanted, options = arguments[:options_from], arguments[options_from:]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise SystemExit(f"no measurement is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options and wanted != ["vault"]:
        raise SystemExit(f"{options[0]} is an option of `vault` alone")
    for name in wanted or NAMES:
        if name == "api":
            await api.run(_amqp_url())
        elif name == "bus":
            await bus.run(_amqp_url())
        elif name == "gateway":
            await gateway.run(_amqp_url())
        elif name == "redaction":
            await redaction.run()
        elif name == "vault":
            await vault.run(options)
        else:
            await startup.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
