"""The place that most of identity's tests are at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.testing import harness
from schemas import identity
from tests.services.identity.place import Place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with harness(subscriptions=identity.SUBSCRIPTIONS) as bus:
        made = Place(bus, tmp_path)
        async with bus.serve(made.log.router(), made.vault()):
            yield made
