"""Answers identity's asks: decide on what is known, append to the log, answer with what came of it.

Called over the bus by the API and the command line. Every command can be repeated: event ids derive from the
command's id, so the vault recognises a repeat whatever happened in between, and it is answered with what the
command did the first time. When another instance was quicker (version-conflict) the log is read and the
decision made again. A command returns once its decision is in this instance's projection, so a question asked
next sees it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError, DeadlinePassed, NobodyAnswers, Refused, Unavailable
from bus.event import Event
from bus.ids import derived
from bus.message import Ask, Fact
from bus.router import Delivery, Router
from schemas.identity import (
    Bucket,
    BucketList,
    CreateToken,
    DeleteBucket,
    GetBucket,
    ListBuckets,
    PutBucket,
    RevokeToken,
    Token,
)
from schemas.request_vault import MAX_PAGE, Append, ReadStream
from services.chassis.projection import Projection
from services.identity import domain
from services.identity.config import Config
from services.identity.domain import No, State

MAX_COMMAND_ID_CHARS = 200
USED_ELSEWHERE = "this command_id was used for another command; use a new one"

R = TypeVar("R")

Decide = Callable[[State | None], tuple[Fact, ...]]


class Handlers:
    def __init__(self, config: Config, bus: Bus, clock: Clock, known: Projection[State]) -> None:
        self._config = config
        self._bus = bus
        self._clock = clock
        self._known = known

    def router(self) -> Router:
        router = Router("identity")
        router.answers(PutBucket, self.answer_put_bucket)
        router.answers(GetBucket, self.answer_get_bucket)
        router.answers(ListBuckets, self.answer_list_buckets)
        router.answers(DeleteBucket, self.answer_delete_bucket)
        router.answers(CreateToken, self.answer_create_token)
        router.answers(RevokeToken, self.answer_revoke_token)
        return router

    async def answer_put_bucket(self, ask: PutBucket, delivery: Delivery) -> Bucket:
        key = ask.key or domain.key_from(ask.command_id)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_put_bucket(state, ask, key)

        _, after = await self._carry_out(ask.command_id, domain.bucket_stream(key), key, key, decide)
        bucket = _bucket(after, key)
        if domain.settings_of(bucket) != domain.settings_of(ask):
            raise Refused("command-conflict", USED_ELSEWHERE)
        return bucket

    async def answer_get_bucket(self, ask: GetBucket, delivery: Delivery) -> Bucket:
        if ask.at is not None and ask.at.tzinfo is None:
            raise Refused("bucket-invalid", "at must name its time zone, as in 2030-01-01T00:00:00Z")
        if not domain.is_key(ask.key) or (ask.allowed_buckets and ask.key not in ask.allowed_buckets):
            raise _unknown(ask.key)
        stream = domain.bucket_stream(ask.key)
        if ask.at is not None:
            bucket = await self._bucket_at(stream, ask.key, ask.at, ask.team)
        else:
            if self._known.get(stream).state is None:
                await self._known.refresh()
            bucket = _bucket(self._known.get(stream).state, ask.key)
        if ask.team not in ("", bucket.team):
            raise _unknown(ask.key)
        return bucket

    async def _bucket_at(self, stream: str, key: str, at: datetime, team: str) -> Bucket:
        """Folded from the log, where the projection knows only today's. Raises Refused."""
        state: State | None = None
        async for event, recorded_at in self._decisions(stream):
            if recorded_at > at:
                break
            state = domain.evolve(state, event.read(domain.FACTS_BY_TYPE[event.type]), event.time)
            if state is not None and state.deleted and state.bucket and team in ("", state.bucket.team):
                when = recorded_at.isoformat(timespec="seconds").replace("+00:00", "Z")
                raise Refused("bucket-gone", f"bucket {key[:40]} was deleted at {when}")
        return _bucket(state, key)

    async def answer_list_buckets(self, ask: ListBuckets, delivery: Delivery) -> BucketList:
        found = [state.living_bucket for state in self._known.states()]
        mine = [
            bucket
            for bucket in found
            if bucket is not None
            and bucket.team == ask.team
            and (not ask.allowed_buckets or bucket.key in ask.allowed_buckets)
        ]
        return BucketList(tuple(sorted(mine, key=lambda bucket: (bucket.created_at, bucket.key))))

    async def answer_delete_bucket(self, ask: DeleteBucket, delivery: Delivery) -> Bucket:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_delete_bucket(state, ask)

        stream = domain.bucket_stream(ask.key)
        before, _ = await self._carry_out(ask.command_id, stream, ask.key, ask.key, decide)
        return _bucket(before, ask.key)

    async def answer_create_token(self, ask: CreateToken, delivery: Delivery) -> Token:
        id = derived(ask.command_id, "token")
        if any(self._known.get(domain.bucket_stream(key)).state is None for key in ask.buckets):
            await self._known.refresh()

        def decide(state: State | None) -> tuple[Fact, ...]:
            buckets = [
                bucket.key
                for each in self._known.states()
                if (bucket := each.living_bucket) is not None and bucket.team == ask.team
            ]
            return domain.decide_create_token(state, ask, id, buckets=buckets, now=self._clock.now())

        _, after = await self._carry_out(ask.command_id, domain.token_stream(id), id, "_", decide)
        return _token(after, id)

    async def answer_revoke_token(self, ask: RevokeToken, delivery: Delivery) -> Token:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_revoke_token(state, ask)

        stream = domain.token_stream(ask.id)
        if self._known.get(stream).state is None:
            await self._known.refresh()
        _, after = await self._carry_out(ask.command_id, stream, ask.id, "_", decide)
        return _token(after, ask.id)

    async def _carry_out(
        self, command_id: str, stream: str, subject: str, key: str, decide: Decide
    ) -> tuple[State | None, State | None]:
        """Decide and append until it holds. Returns the stream's state before and after. Raises Refused, and
        whatever keeps the vault from answering."""
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
                return done
            if not facts:
                return folded.state, folded.state
            try:
                return await self._append(command_id, stream, subject, key, folded.version, facts)
            except Refused as refused:
                if refused.reason == "version-conflict":
                    await self._known.refresh(self._config.append_timeout_s)
                elif refused.reason == "event-conflict":
                    # The command's event is in the log, made on another state: it was carried out before.
                    done = await self._done_before(command_id, stream)
                    if done is None:
                        raise Refused("command-conflict", USED_ELSEWHERE) from None
                    return done
                else:
                    raise
        raise Unavailable(
            f"{stream} changes too quickly: {self._config.tries} decisions were overtaken; try again"
        )

    async def _append(
        self, command_id: str, stream: str, subject: str, key: str, version: int, facts: tuple[Fact, ...]
    ) -> tuple[State | None, State | None]:
        events = [
            self._bus.envelop(fact, key=key, subject=subject, id=derived(command_id, stream, str(number)))
            for number, fact in enumerate(facts)
        ]
        before = self._known.get(stream).state
        encoded = tuple(codec.encode_event(event) for event in events)
        appended = await self._vault(Append(stream, version, encoded))
        if appended.repeated:
            done = await self._done_before(command_id, stream)
            if done is not None:
                return done
        after = before
        for event, fact in zip(events, facts, strict=True):
            after = domain.evolve(after, fact, event.time)
        with suppress(BusError):  # it is durable already; at worst the next question sees it a little later
            await self._known.reach(appended.positions[-1][1], self._config.append_timeout_s)
        return before, after

    async def _done_before(self, command_id: str, stream: str) -> tuple[State | None, State | None] | None:
        """The stream's state before and after what this command did to it; None when it did nothing."""
        first = derived(command_id, stream, "0")
        state: State | None = None
        async for event, _ in self._decisions(stream):
            before = state
            state = domain.evolve(before, event.read(domain.FACTS_BY_TYPE[event.type]), event.time)
            if event.identity == (self._bus.source, first):
                return before, state
        return None

    async def _decisions(self, stream: str) -> AsyncIterator[tuple[Event, datetime]]:
        """The stream's decisions that are known here, in order, and when each was recorded."""
        after = 0
        while True:
            page = await self._vault(ReadStream(stream, after=after, limit=MAX_PAGE))
            for recorded in page.records:
                event = codec.decode_event(recorded.event)
                if event.type in domain.FACTS_BY_TYPE:
                    yield event, recorded.recorded_at
            if not page.records or page.next_after >= page.head:
                return
            after = page.next_after

    async def _vault(self, ask: Ask[R]) -> R:
        """The vault's answer. Raises Refused, and Unavailable when none comes; the command can then be
        repeated."""
        try:
            return await self._bus.ask(ask, timeout_s=self._config.append_timeout_s)
        except (NobodyAnswers, DeadlinePassed) as error:
            raise Unavailable(f"the request vault does not answer: {error}") from error


def _bucket(state: State | None, key: str) -> Bucket:
    bucket = state.living_bucket if state is not None else None
    if bucket is None:
        raise _unknown(key)
    return bucket


def _unknown(key: str) -> Refused:
    return Refused("bucket-unknown", f"there is no bucket {key[:40]!r}")


def _token(state: State | None, id: str) -> Token:
    if state is None or state.token is None:
        raise Refused("token-unknown", f"there is no token {id[:60]!r}")
    return domain.token_of(state.token)
