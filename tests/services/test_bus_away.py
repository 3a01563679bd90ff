"""The whole system on RabbitMQ, and RabbitMQ gone: the gateway goes on proxying, and what it captured
meanwhile is in the vault when the broker is back, also what was captured strictly before a kill -9."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deploy.stack import Server
from tests.services.cli.an_installation import Installation, an_installation
from tests.vhosts import QUEUES_REGISTERED_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

VISIBLE_WITHIN_S = 40.0


def kept(installation: Installation, wanted: set[str]) -> list[str]:
    """The ids of all kept calls, once those that are wanted are among them."""
    until = time.monotonic() + VISIBLE_WITHIN_S
    while True:
        done = installation.run("calls", "--limit", "500", "--json")
        ids = [call["id"] for call in json.loads(done.stdout)["calls"]] if done.returncode == 0 else []
        if wanted <= set(ids) or time.monotonic() > until:
            return ids


def test_calls_captured_while_the_broker_is_away_are_kept(
    tmp_path: Path, amqp_url: str, broker: Server
) -> None:
    with an_installation(tmp_path / "data", "--sample", TRUNKLINE_BUS_URL=amqp_url) as it:
        before = [it.call("/teas") for _ in range(10)]
        time.sleep(QUEUES_REGISTERED_S)
        broker.kill()
        away = [it.call("/teas") for _ in range(30)]
        away.append(it.call("/photos", b"x" * 300_000))
        assert {status for status, _, _ in [*before, *away[:-1]]} == {200}, "clients notice nothing"
        broker.start()
        after = [it.call("/teas") for _ in range(5)]
        wanted = {id for _, _, id in [*before, *away, *after]}
        ids = kept(it, wanted)
        assert sorted(ids) == sorted(wanted), "each of them, none twice"


def test_a_strict_capture_survives_the_broker_and_the_gateway_both_dying(
    tmp_path: Path, amqp_url: str, broker: Server
) -> None:
    with an_installation(tmp_path / "data", "--sample", TRUNKLINE_BUS_URL=amqp_url) as it:
        it.make_strict()
        before = [it.call("/teas")[2] for _ in range(5)]
        time.sleep(QUEUES_REGISTERED_S)
        broker.kill()
        away = [it.call("/teas")[2] for _ in range(10)]
        it.kill()
        broker.start()
        it.start("--sample")
        wanted = {*before, *away}
        assert wanted <= set(kept(it, wanted))
