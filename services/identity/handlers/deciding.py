"""How a command becomes a decision in the log: decide on what is known, append, answer with what came of it.

Used by every handler of identity. Every command can be repeated: event ids derive from the command's id, so
the vault recognises a repeat whatever happened in between, and it is answered with what the command did the
first time. When another instance was quicker (version-conflict) the log is read and the decision made again.
A command returns once its decision is in this instance's projection, so a question asked next sees it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TypeVar

from bus import codec
from bus.connect import Bus
from bus.errors import BusError, DeadlinePassed, NobodyAnswers, Refused, Unavailable
from bus.event import Event
from bus.ids import derived
from bus.message import Ask, Fact
from schemas.identity import FACTS
from schemas.identity.state import State, evolve
from schemas.request_vault import MAX_PAGE, Append, ReadStream
from services.chassis.projection import Folded, Projection
from services.identity.config import Config
from services.identity.domain.refusing import No

MAX_COMMAND_ID_CHARS = 200
USED_ELSEWHERE = "this command_id was used for another command; use a new one"

_FACTS_BY_TYPE = {fact.TYPE: fact for fact in FACTS}

R = TypeVar("R")

Decide = Callable[[State | None], tuple[Fact, ...]]
Did = Callable[[State], bool]


def read(event: Event) -> Fact:
    """A decision of identity."""
    return event.read(_FACTS_BY_TYPE[event.type])


class Deciding:
    """known: identity's own projection."""

    def __init__(self, config: Config, bus: Bus, known: Projection[State]) -> None:
        self._config = config
        self._bus = bus
        self._known = known

    async def state(self, stream: str) -> State | None:
        """What is known of a stream, after a look at the log when nothing is. Raises Unavailable."""
        if self._known.get(stream).state is None:
            await self._known.refresh(self._config.append_timeout_s)
        return self._known.get(stream).state

    async def carry_out(
        self,
        command_id: str,
        stream: str,
        subject: str,
        key: str,
        decide: Decide,
        *,
        did: Did | None = None,
    ) -> tuple[State | None, State | None]:
        """Decide and append until it holds. Returns the stream's state before and after. did: whether a state
        is what this command leaves behind, so that a command_id which was used for something else is refused.
        Raises Refused, and whatever keeps the vault from answering."""
        if not 0 < len(command_id) <= MAX_COMMAND_ID_CHARS:
            raise Refused("command-invalid", f"command_id must have 1 to {MAX_COMMAND_ID_CHARS} characters")
        looked_again = False
        for _ in range(self._config.tries):
            folded = self._known.get(stream)
            try:
                facts = decide(folded.state)
            except No as no:
                if not looked_again:  # perhaps it only looks so from here
                    looked_again = True
                    await self._known.refresh(self._config.append_timeout_s)
                    continue
                done = None if no.final or not folded.version else await self._done_before(command_id, stream)
                if done is None:
                    raise Refused(no.slug, no.detail) from None
                return _checked(done, did)
            if not facts:
                if not looked_again:  # another instance may have changed what seems to be so already
                    looked_again = True
                    await self._known.refresh(self._config.append_timeout_s)
                    continue
                return folded.state, folded.state
            try:
                done = await self._append(command_id, stream, subject, key, folded, facts)
                return _checked(done, did)
            except Refused as refused:
                if refused.reason == "version-conflict":
                    await self._known.refresh(self._config.append_timeout_s)
                elif refused.reason == "event-conflict":
                    # The command's event is in the log, made on another state: it was carried out before.
                    done = await self._done_before(command_id, stream)
                    if done is None:
                        raise Refused("command-conflict", USED_ELSEWHERE) from None
                    return _checked(done, did)
                else:
                    raise
        raise Unavailable(
            f"{stream} changes too quickly: {self._config.tries} decisions were overtaken; try again"
        )

    async def _append(
        self,
        command_id: str,
        stream: str,
        subject: str,
        key: str,
        known: Folded[State],
        facts: tuple[Fact, ...],
    ) -> tuple[State | None, State | None]:
        events = [
            self._bus.envelop(fact, key=key, subject=subject, id=derived(command_id, stream, str(number)))
            for number, fact in enumerate(facts)
        ]
        encoded = tuple(codec.encode_event(event) for event in events)
        appended = await self.vault(Append(stream, known.version, encoded))
        if appended.repeated:
            done = await self._done_before(command_id, stream)
            if done is not None:
                return done
        after = known.state
        for event, fact in zip(events, facts, strict=True):
            after = evolve(after, fact, event.time)
        with suppress(BusError):  # it is durable already; at worst the next question sees it a little later
            await self._known.reach(appended.positions[-1][1], self._config.append_timeout_s)
        return known.state, after

    async def _done_before(self, command_id: str, stream: str) -> tuple[State | None, State | None] | None:
        """The stream's state before and after what this command did to it; None when it did nothing."""
        before: State | None = None
        state: State | None = None
        found = 0
        async for event, _ in self.decisions(stream):
            mine = event.identity == (self._bus.source, derived(command_id, stream, str(found)))
            if found and not mine:
                break
            if mine and not found:
                before = state
            found += mine
            state = evolve(state, read(event), event.time)
        return (before, state) if found else None

    async def decisions(self, stream: str) -> AsyncIterator[tuple[Event, datetime]]:
        """The stream's decisions that are known here, in order, and when each was recorded."""
        after = 0
        while True:
            page = await self.vault(ReadStream(stream, after=after, limit=MAX_PAGE))
            for recorded in page.records:
                event = codec.decode_event(recorded.event)
                if event.type in _FACTS_BY_TYPE:
                    yield event, recorded.recorded_at
            if not page.records or page.next_after >= page.head:
                return
            after = page.next_after

    async def vault(self, ask: Ask[R]) -> R:
        """The vault's answer. Raises Refused, and Unavailable when none comes; the command can then be
        repeated."""
        try:
            return await self._bus.ask(ask, timeout_s=self._config.append_timeout_s)
        except (NobodyAnswers, DeadlinePassed) as error:
            raise Unavailable(f"the request vault does not answer: {error}") from error


def _checked(done: tuple[State | None, State | None], did: Did | None) -> tuple[State | None, State | None]:
    _, after = done
    if did is not None and (after is None or not did(after)):
        raise Refused("command-conflict", USED_ELSEWHERE)
    return done


@contextmanager
def refused() -> Iterator[None]:
    """Outside of a command: what the domain says no to is refused."""
    try:
        yield
    except No as no:
        raise Refused(no.slug, no.detail) from None
