"""`python -m bench [bus] [gateway] [startup]`: all of them when none is named. Needs a RabbitMQ: `make bench`
starts one."""

from __future__ import annotations

import asyncio
import os
import sys

from bench import startup
from bench.bus import run as bus
from bench.gateway import run as gateway

NAMES = ("bus", "gateway", "startup")


async def main(wanted: list[str]) -> None:
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise SystemExit(f"no measurement is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    amqp_url = os.environ.get("TRUNKLINE_TEST_AMQP_URL")
    if amqp_url is None:
        raise SystemExit("a RabbitMQ is needed: run this with `make bench`")
    for name in wanted or NAMES:
        if name == "bus":
            await bus.run(amqp_url)
        elif name == "gateway":
            await gateway.run(amqp_url)
        else:
            await startup.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
