"""What the heartbeats on the bus told, answered to whoever asks which services run."""

from __future__ import annotations

import msgspec

from bus.clock import Clock
from bus.router import Delivery, Router
from schemas.mission_control import ListServices, ServiceBeat, ServiceList, ServiceSeen

FORGET_AFTER_S = 600.0
MAX_SEEN = 10_000


class Board:
    """What the beats on the bus told: every instance that was heard within FORGET_AFTER_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[ServiceBeat, float]] = {}

    def router(self) -> Router:
        router = Router("host.board")
        router.on(ServiceBeat, self.on_service_beat)
        router.answers(ListServices, self.answer_list_services)
        return router

    async def on_service_beat(self, beat: ServiceBeat, delivery: Delivery) -> None:
        if len(self._seen) >= MAX_SEEN:
            self._forget()
        if len(self._seen) < MAX_SEEN:
            self._seen[beat.service, beat.instance] = (beat, self._clock.monotonic())

    async def answer_list_services(self, ask: ListServices, delivery: Delivery) -> ServiceList:
        self._forget()
        now = self._clock.monotonic()
        rows = sorted(
            self._seen.values(), key=lambda row: (row[0].service, row[0].started_at, row[0].instance)
        )
        return ServiceList(
            tuple(
                ServiceSeen(**msgspec.structs.asdict(beat), beat_age_s=round(max(0.0, now - heard), 3))
                for beat, heard in rows
            )
        )

    def _forget(self) -> None:
        now = self._clock.monotonic()
        for key in [key for key, (_, heard) in self._seen.items() if now - heard > FORGET_AFTER_S]:
            del self._seen[key]
