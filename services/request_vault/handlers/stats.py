"""How much there is."""

from __future__ import annotations

from collections.abc import Callable

from bus.router import Delivery, Router
from schemas.request_vault import GetVaultStats, RetentionRound, VaultStats
from services.request_vault.store.bodies import Bodies
from services.request_vault.store.port import Store


class Stats:
    """retention(), erasures(): what VaultStats says of them."""

    def __init__(
        self,
        store: Store,
        bodies: Bodies,
        *,
        retention: Callable[[], RetentionRound | None],
        erasures: Callable[[], int],
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._retention = retention
        self._erasures = erasures

    def bind(self, router: Router) -> None:
        router.answers(GetVaultStats, self.answer_stats)

    async def answer_stats(self, ask: GetVaultStats, delivery: Delivery) -> VaultStats:
        stats = await self._store.stats()
        bodies, bodies_bytes = await self._bodies.totals()
        return VaultStats(
            events=stats.events,
            calls=stats.calls,
            bodies=bodies,
            size_bytes=stats.size_bytes + bodies_bytes,
            heads=self._store.heads(),
            partitions=stats.partitions,
            published_to=stats.published_to,
            usage=stats.usage,
            retention=self._retention(),
            erasures=self._erasures(),
            models=self._store.models(),
            text_behind=self._store.texts_behind(),
        )
