"""The engines that the vault's suite runs over.

An engine joins by its name in ENGINES. A store is opened through `open_store`, as the service does, and
is opened again over the same data to see what is durable.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import Clock, Open
from tests.services.request_vault.vault_schemas import vault_urls

# What they assert is told in full, as in a test's own module.
pytest.register_assert_rewrite(
    "tests.conformance.vault.reading_machine", "tests.conformance.vault.removing_machine"
)

ENGINES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ENGINES)
def urls(request: pytest.FixtureRequest) -> Iterator[Iterator[str]]:
    """Where vaults are kept: each another place, empty."""
    if request.param == "sqlite":
        yield itertools.repeat("sqlite:")
        return
    with vault_urls(request.getfixturevalue("postgres_url")) as fresh:
        yield fresh


@pytest.fixture
def new_vault(urls: Iterator[str], tmp_path: Path, clock: Clock) -> Callable[[], Open]:
    """Each call is another vault, empty; what it gives opens that one each time it is called."""
    numbers = itertools.count()

    def another() -> Open:
        url = next(urls)
        folder = tmp_path / f"vault-{next(numbers)}"

        def open_again(*, partitions: int = 1) -> AbstractAsyncContextManager[Store]:
            return open_store(url, folder, clock, partitions=partitions, readers=2)

        return open_again

    return another


@pytest.fixture
def opens(new_vault: Callable[[], Open]) -> Open:
    """Opens the same vault each time it is called."""
    return new_vault()


@pytest.fixture
async def store(opens: Open) -> AsyncIterator[Store]:
    async with opens() as opened:
        yield opened
