"""The engines that the vault's suite runs over.

An engine joins by its name in ENGINES. A store is opened through `open_store`, as the service does, and
is opened again over the same data to see what is durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import Clock, Open

ENGINES = ("sqlite",)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ENGINES)
def opens(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Open:
    """Opens the same vault each time it is called."""

    def open_again(*, partitions: int = 1) -> AbstractAsyncContextManager[Store]:
        return open_store(f"{request.param}:", tmp_path / "vault", clock, partitions=partitions, readers=2)

    return open_again


@pytest.fixture
async def store(opens: Open) -> AsyncIterator[Store]:
    async with opens() as opened:
        yield opened
