"""The embedded transport, open on a journal of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bus.embedded import EmbeddedTransport, open_embedded
from bus.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest_asyncio.fixture
async def transport(journal: Path, clock: ManualClock) -> AsyncIterator[EmbeddedTransport]:
    async with open_embedded(journal, clock=clock) as opened:
        yield opened
