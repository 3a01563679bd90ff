"""A process that runs one instance of the vault on RabbitMQ and PostgreSQL until it is told to end. Run by
`test_instances.py`: AMQP_URL VAULT_URL FOLDER. Prints `ready` once it serves."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import bus
from schemas import request_vault as contract
from services.request_vault import service
from services.request_vault.config import Config
from tests.services.grounds import a_ground


async def run(amqp_url: str, vault_url: str, folder: Path) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with bus.connect(amqp_url, source="request_vault", subscriptions=contract.SUBSCRIPTIONS) as b:
        ground = a_ground(b, folder)
        async with service.build(Config(url=vault_url, batch_events=200), ground):
            print("ready", flush=True)
            await ending.wait()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
