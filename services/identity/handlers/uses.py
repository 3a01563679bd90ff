"""When each token was last used: what the API tells (`api.token.used`), kept in memory and looked up in the
log at start. It is told at most once in five minutes for a token, so it is right to within that; until the
log was read, a token that was used before only seems never to have been."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import structlog

from bus import codec
from bus.connect import Bus
from bus.errors import BusError, Malformed
from bus.message import Subscription
from bus.router import Delivery, Router
from schemas.api import TokenUsed
from schemas.identity.state import State
from schemas.request_vault import ReadStream
from services.chassis.projection import Projection

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 10.0
BEYOND = 2**31 - 1  # no stream has a version behind this

_log = structlog.get_logger("identity")


class Uses:
    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}

    def router(self) -> Router:
        subscription = Subscription("identity.uses", (f"{TokenUsed.TYPE}.#",), mode="every_instance")
        router = Router(subscription)
        router.on(TokenUsed, self.on_token_used)
        return router

    async def on_token_used(self, used: TokenUsed, delivery: Delivery) -> None:
        self._note(used)

    def last(self, id: str) -> datetime | None:
        return self._last.get(id)

    async def read_back(self, bus: Bus, known: Projection[State]) -> None:
        """What was told before this process listened, of each token that is not revoked; returns when all of
        it is known. Tries until the vault answers."""
        done: set[str] = set()
        retry_s = FIRST_RETRY_S
        while True:
            try:
                await known.refresh()
                for state in list(known.states()):
                    token = state.token
                    if token is not None and not token.revoked and token.id not in done:
                        await self._look_up(bus, token.id)
                        done.add(token.id)
                return
            except BusError as error:
                if retry_s >= LONGEST_RETRY_S:
                    _log.warning("not known yet when tokens were used before", trouble=str(error))
                await bus.clock.sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _look_up(self, bus: Bus, id: str) -> None:
        stream = f"api.token-{id}"
        head = (await bus.ask(ReadStream(stream, after=BEYOND, limit=1))).head
        if head == 0:
            return
        for recorded in (await bus.ask(ReadStream(stream, after=head - 1, limit=1))).records:
            with suppress(Malformed):  # somebody else's idea of this event
                self._note(codec.decode_event(recorded.event).read(TokenUsed))

    def _note(self, used: TokenUsed) -> None:
        before = self._last.get(used.id)
        if before is None or before < used.at:
            self._last[used.id] = used.at
