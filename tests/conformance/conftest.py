"""`house`: every test of the suite that takes it runs once on each transport, in an empty installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.houses import EmbeddedHouse, House, RabbitHouse

TRANSPORTS = ["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]


@pytest.fixture(params=TRANSPORTS)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    found: House
    if request.param == "embedded":
        found = EmbeddedHouse(tmp_path / "bus.db")
    else:
        found = RabbitHouse(request.getfixturevalue("amqp_url"))
    for marker in request.node.iter_markers("capability"):
        if marker.args[0] not in found.capabilities:
            pytest.skip(f"{found.name} does not declare {marker.args[0]!r}")
    return found


@pytest.fixture
def embedded(tmp_path: Path) -> House:
    """For what is a promise of this transport alone."""
    return EmbeddedHouse(tmp_path / "bus.db")


@pytest.fixture
def rabbitmq(amqp_url: str) -> House:
    """For what is a promise of this transport alone."""
    return RabbitHouse(amqp_url)
