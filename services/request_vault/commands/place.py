"""Where an installation's vault is, and opening it without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bus.clock import Clock
from services.chassis.config import Loaded, hidden
from services.request_vault.commands.errors import VaultMissing
from services.request_vault.config import Config
from services.request_vault.store import DATABASE, open_archive, open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Archive, Store

BODIES = "bodies"
ERASURES = "erasures"
"""What running erasures still have to do (`store.erasures`)."""


@dataclass(frozen=True)
class Place:
    """url: as the settings have it, secrets included. folder: where the vault keeps what is in files."""

    url: str
    folder: Path
    config: Config

    @property
    def shown(self) -> str:
        """For people: without its secrets."""
        return str(self.file) if self.file is not None else hidden("url", self.url)

    @property
    def engine(self) -> str:
        return "sqlite" if self.file is not None else self.url.partition(":")[0]

    @property
    def file(self) -> Path | None:
        """The database's file, None when it has none."""
        scheme, _, rest = self.url.partition(":")
        if scheme != "sqlite":
            return None
        return Path(unquote(rest)) if rest else self.folder / DATABASE

    def bodies(self, clock: Clock) -> DirectoryBodies:
        return DirectoryBodies(self.folder / BODIES, clock, compress=self.config.compress_bodies)

    @asynccontextmanager
    async def archive(self) -> AsyncIterator[Archive]:
        """To read only; the vault may run meanwhile. Raises VaultMissing, and as `open_archive` does."""
        async with AsyncExitStack() as opened:
            try:
                archive = await opened.enter_async_context(open_archive(self.url, self.folder))
            except FileNotFoundError:
                raise VaultMissing(f"there is no vault at {self.shown}") from None
            yield archive

    @asynccontextmanager
    async def store(self, clock: Clock, partitions: int) -> AsyncIterator[Store]:
        """To write. Raises VaultInUse, and as `open_store` does."""
        async with open_store(self.url, self.folder, clock, partitions=partitions, readers=1) as store:
            yield store


def place_of(loaded: Loaded) -> Place:
    config: Config = loaded.rooms["request_vault"]
    return Place(config.url, loaded.data_dir / "request_vault", config)


def place_in(data_dir: Path, config: Config) -> Place:
    """The vault that an installation with this data folder keeps there."""
    return Place("sqlite:", data_dir / "request_vault", config)
