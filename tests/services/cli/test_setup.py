"""`setup` and `health` without services, or on a bus that only one process has. (With services:
tests/deploy/test_compose.py.)"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bus.testing import Harness, harness
from services import catalog
from services.chassis.host import Ground, Part, Shared, open_host
from services.cli import exits
from services.cli.exits import Trouble
from services.cli.setup import announced
from tests.services.cli.an_installation import Installation, an_installation


def test_setup_says_which_services_are_not_there(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    done = it.run_alone("setup", "--wait", "0.1")
    assert done.returncode == exits.DOWN
    assert "not ready on this bus within 0.1 s: traffic_gateway, request_vault, identity, api" in done.stderr
    assert not (tmp_path / "data" / "credentials.toml").exists()


@pytest.mark.slow
def test_an_embedded_bus_is_for_one_process(tmp_path: Path) -> None:
    with an_installation(tmp_path / "data") as it:
        before = (tmp_path / "data" / "credentials.toml").read_text()
        done = it.run_alone("setup")
        assert done.returncode == exits.CONFIG
        assert str(it.process.pid) in done.stderr
        assert (tmp_path / "data" / "credentials.toml").read_text() == before
        done = it.run_alone("health")
        assert done.returncode == exits.CONFIG
        assert "trunkline status" in done.stderr


@asynccontextmanager
async def idle(config: object, ground: Ground) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def hosts(bus: Harness, folder: Path, *shared: Shared) -> AsyncIterator[None]:
    """Each service in a process of its own; the first ones with these keys, the others with the last."""
    async with AsyncExitStack() as stack:
        for number, name in enumerate(catalog.SERVICES):
            keys = shared[min(number, len(shared) - 1)]
            host = open_host(bus, [Part(name, idle, None)], data_dir=folder, version="1", shared=keys)
            await stack.enter_async_context(host)
        await bus.settled()
        yield


async def test_services_that_have_one_key_are_ready(tmp_path: Path) -> None:
    async with harness() as bus, hosts(bus, tmp_path, Shared.alone(bus.clock)):
        assert set(await announced(bus, 1.0)) == set(catalog.SERVICES)


async def test_services_that_have_different_keys_are_told_of(tmp_path: Path) -> None:
    async with harness() as bus:
        ours, theirs = Shared.alone(bus.clock), Shared.alone(bus.clock)
        async with hosts(bus, tmp_path, theirs, ours):
            with pytest.raises(Trouble, match="different keys") as caught:
                await announced(bus, 1.0)
        assert caught.value.exit_code == exits.CONFIG
        for said in (
            f"{theirs.secrets.ids[0]}: traffic_gateway",
            ours.secrets.ids[0],
            "TRUNKLINE_SECRET_KEY",
        ):
            assert said in f"{caught.value} {caught.value.remedy}"


def test_health_without_a_broker_is_told(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data", TRUNKLINE_BUS_URL="amqp://nobody:x@127.0.0.1:9/")
    done = it.run_alone("health", "--timeout", "2")
    assert done.returncode == exits.DOWN
    assert "Traceback" not in done.stderr
