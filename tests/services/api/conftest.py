from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.services.api.standing import Standing, standing


@pytest.fixture
async def api() -> AsyncIterator[Standing]:
    async with standing() as running:
        yield running
