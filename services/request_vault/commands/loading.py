"""Putting a log into a store, at exactly its positions. Used by `restore` and `import`."""

from __future__ import annotations

from services.request_vault.commands.proving import walk
from services.request_vault.commands.telling import Advance
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import Anchor, End, Link, last_number
from services.request_vault.domain.recording import DECISIONS
from services.request_vault.store.port import Archive, Store

BATCH_LINKS = 500


class Batches:
    """Links in the order in which they are read, given to the store as many at a time as it likes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Link] = []
        self._loaded_to: Vector = {}

    async def add(self, link: Link) -> None:
        """Raises LinksDiffer, Unavailable."""
        if self._waiting and (
            link.partition != self._waiting[0].partition
            or (len(self._waiting) >= BATCH_LINKS and not _wants_its_seal(self._waiting[-1]))
        ):
            await self.flush()
        self._waiting.append(link)

    async def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            await self._store.load(waiting, self._loaded_to)
            self._loaded_to[waiting[-1].partition] = last_number(waiting[-1])


def _wants_its_seal(link: Link) -> bool:
    """A segment that was trimmed whole is loaded together with the seal that stands for it."""
    return isinstance(link, Anchor) and not link.digests


def in_loading_order(ends: tuple[End, ...]) -> list[End]:
    """Observations first: decisions are about them."""
    return [*(end for end in ends if end.partition != DECISIONS), ends[DECISIONS]]


async def load_all(source: Archive, target: Store, advance: Advance) -> None:
    """Raises LinksDiffer, Unavailable."""
    batches = Batches(target)
    for end in in_loading_order(await source.ends()):
        async for page in walk(source, end):
            for link in page:
                await batches.add(link)
            advance(len(page))
        await batches.flush()
    await target.raise_floor(await source.floor_us())
