"""The whole system on RabbitMQ, and RabbitMQ gone: the gateway goes on proxying, and what it captured
meanwhile is in the vault when the broker is back, also what was captured strictly before a kill -9."""

from __future__ import annotations

import http.server
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.stack import Server
from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation
from tests.services.cli.test_run import start
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


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def an_api() -> Iterator[str]:
    """A target that outlives the installation: its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_proxying_goes_on_while_the_vault_and_all_others_are_away(tmp_path: Path, amqp_url: str) -> None:
    with an_api() as api, an_installation(tmp_path / "data", TRUNKLINE_BUS_URL=amqp_url) as it:
        gateway, told = start(it, "traffic_gateway")
        with gateway:
            it.told |= {"gateway_url": told["traffic_gateway"], "sample_url": api}
            first = it.call("/first")[2]
            assert kept(it, {first}) == [first]
            assert it.stop(signal.SIGTERM)[0] == 0
            answers = [it.call(f"/{i}") for i in range(20)]
            assert {status for status, _, _ in answers} == {200}, "clients notice nothing"
            it.start()
            wanted = [first, *(id for _, _, id in answers)]
            ids = kept(it, set(wanted))
            assert sorted(ids) == sorted(wanted), "each of them, none twice"
            gateway.send_signal(signal.SIGTERM)
            gateway.communicate(timeout=30)
        assert gateway.returncode == 0


def test_a_spool_outlives_its_gateway(tmp_path: Path, amqp_url: str, broker: Server) -> None:
    """A gateway that is stopped while the broker is away leaves its captures in order to the next one. That
    one cannot start before the broker is back, and says so."""
    with an_api() as api, an_installation(tmp_path / "data", TRUNKLINE_BUS_URL=amqp_url) as it:
        before, told = start(it, "traffic_gateway")
        with before:
            it.told |= {"gateway_url": told["traffic_gateway"], "sample_url": api}
            first = it.call("/first")[2]
            assert kept(it, {first}) == [first]
            time.sleep(QUEUES_REGISTERED_S)
            broker.kill()
            away = [it.call(f"/{i}") for i in range(10)]
            assert {status for status, _, _ in away} == {200}
            before.send_signal(signal.SIGTERM)
            before.communicate(timeout=60)
        refused = it.run_alone("run", "traffic_gateway")
        assert refused.returncode == exits.DOWN
        assert "cannot connect" in refused.stderr
        broker.start()
        after, told = start(it, "traffic_gateway")
        with after:
            it.told["gateway_url"] = told["traffic_gateway"]
            away += [it.call(f"/{i}") for i in range(10, 20)]
            wanted = [first, *(id for _, _, id in away)]
            ids = kept(it, set(wanted))
            assert sorted(ids) == sorted(wanted), "each of them, none twice"
            listed = json.loads(it.run("calls", "--limit", "500", "--json").stdout)["calls"]
            assert [call["id"] for call in reversed(listed)] == wanted, "in the order in which they were made"
            after.send_signal(signal.SIGTERM)
            after.communicate(timeout=60)
