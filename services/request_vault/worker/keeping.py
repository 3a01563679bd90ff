"""Retention: what is more, or older, than the buckets and the installation keep goes, oldest first, and its
disk comes back. Where several instances run, the one that leads sees to it.

A round every `interval_s`: the buckets' limits from identity's decisions, then each rule of
`domain.retention` by steps so small, with a pause as long as the step, that ingest goes first. A body goes
when no call names it any more and nobody has put it for BODY_REST_S: a call that is on its way may name it
again. What a crash leaves is swept every SWEEP_S, when it is ORPHAN_S old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import structlog

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError
from schemas import identity
from schemas.identity import Retention
from schemas.request_vault import ANY_VERSION, MAX_PAGE, CallsExpired, Position, RetentionRound
from services.request_vault.domain.recording import to_us
from services.request_vault.domain.retention import (
    IDENTITIES_S,
    INSTALLATION,
    Kept,
    Rule,
    days_kept,
    fold,
    is_gone,
    retention_stream,
    rules,
)
from services.request_vault.store import port
from services.request_vault.store.bodies import Bodies, BodyName, Removed
from services.request_vault.store.port import Scope, Store, Trimmed

STEP_RECORDS = 150
"""What goes within some ten milliseconds."""

STEP_PAGES = 256
STEP_IDENTITIES = 500
PAUSE_LEAST_S = 0.005
CHECKPOINT_TRIES = 20
BODY_REST_S = 600.0
SWEEP_S = 3600.0
ORPHAN_S = 7 * 24 * 3600.0
"""Longer than an event stays in a spool behind its bodies."""

LATER_BODIES = 200_000
"""So many bodies are remembered to be looked at again; what is beyond is left to the sweep."""

_log = structlog.get_logger("request_vault")


class Keeping:
    """limits: the installation's. decided(): called after an append; returns at once."""

    def __init__(
        self,
        store: Store,
        bodies: Bodies,
        bus: Bus,
        clock: Clock,
        limits: Retention,
        *,
        interval_s: float,
        decided: Callable[[], None],
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._bus = bus
        self._clock = clock
        self._limits = limits
        self._interval_s = interval_s
        self._decided = decided
        self._buckets: dict[str, Kept] = {}
        self._identity = 0  # the number up to which identity's decisions are folded
        self._later: deque[tuple[float, BodyName]] = deque()
        self._swept_at_s = clock.monotonic()
        self.round: RetentionRound | None = None
        """The one that goes on, else the last."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._learn()
                await self._clock.sleep(self._interval_s)
                if self._store.leads():
                    await self.keep()
            except BusError as error:
                _log.warning("retention broke off", error=str(error), retry_s=self._interval_s)
                await self._clock.sleep(self._interval_s)

    async def keep(self) -> RetentionRound:
        """One round. Raises Unavailable; the next one goes on where it broke off."""
        began_s = self._clock.monotonic()
        self.round = RetentionRound(began_at=self._clock.now())
        await self._learn()
        for rule in rules(self._buckets, self._limits, self._clock.now()):
            await self._apply(rule)
        await self._remove_rested()
        await self._sweep()
        await self._forget()
        await self._give_back()
        took_ms = (self._clock.monotonic() - began_s) * 1000
        self.round = done = msgspec.structs.replace(self.round, took_ms=took_ms)
        if done.records or done.bodies:
            _log.info("retention", **msgspec.to_builtins(done))
        return done

    async def _learn(self) -> None:
        """Fold what identity has decided since."""
        while True:
            page = await self._store.read_category(identity.CATEGORY, self._identity, MAX_PAGE)
            for record in page.records:
                event = codec.decode_event(record.event)
                fold(self._buckets, event)
            self._identity = page.next_after
            if not page.records:
                break
        self._store.retain(days_kept(self._buckets, self._limits))

    async def _apply(self, rule: Rule) -> None:
        scope = _scope(rule)
        gone: list[Trimmed] = []
        try:
            while True:
                began_s = self._clock.monotonic()
                trimmed = await self._store.trim(scope, STEP_RECORDS)
                if not trimmed.records:
                    break
                gone.append(trimmed)
                self._count(trimmed, self._clock.monotonic() - began_s)
                await self._remove_bodies(trimmed.bodies)
                if not trimmed.more:
                    break
                await self._pause(began_s)
        finally:
            if gone:
                await self._tell(rule, gone)
        kept = self._buckets.get(rule.bucket)
        if kept is not None and rule.by == "before_us" and is_gone(kept, self._clock.now()):
            await self._remove_rest(rule.bucket)

    async def _tell(self, rule: Rule, gone: list[Trimmed]) -> None:
        firsts = [each.first for each in gone if each.first is not None]
        lasts = [each.last for each in gone if each.last is not None]
        first: Position = min(firsts)
        last: Position = max(lasts)
        fact = CallsExpired(
            bucket=rule.bucket,
            reason=rule.reason,
            records=sum(each.records for each in gone),
            calls=sum(each.calls for each in gone),
            first=first,
            last=last,
        )
        event = self._bus.envelop(fact, key=rule.bucket, subject=rule.bucket)
        await self._store.append(retention_stream(rule.bucket), ANY_VERSION, [codec.encode_event(event)])
        self._decided()

    async def _remove_bodies(self, names: Iterable[BodyName]) -> None:
        """Those that nobody has put lately; the others are looked at again when they have rested."""
        by_bucket: dict[str, list[str]] = {}
        for name in names:
            by_bucket.setdefault(name.bucket, []).append(name.sha256)
        for bucket, hashes in by_bucket.items():
            self._count_bodies(
                await self._bodies.sweep(
                    self._store.named, BODY_REST_S, self._clock.now(), bucket=bucket, hashes=set(hashes)
                )
            )
            left = set(hashes) - await self._bodies.missing(bucket, hashes)
            due_s = self._clock.monotonic() + BODY_REST_S
            room = max(LATER_BODIES - len(self._later), 0)
            self._later += [(due_s, BodyName(bucket, sha256)) for sha256 in sorted(left)[:room]]

    async def _remove_rested(self) -> None:
        now_s = self._clock.monotonic()
        due: list[BodyName] = []
        while self._later and self._later[0][0] < now_s:
            due.append(self._later.popleft()[1])
        for at in range(0, len(due), STEP_IDENTITIES):
            step = due[at : at + STEP_IDENTITIES]
            for bucket in sorted({name.bucket for name in step}):
                hashes = {name.sha256 for name in step if name.bucket == bucket}
                self._count_bodies(
                    await self._bodies.sweep(
                        self._store.named, BODY_REST_S, self._clock.now(), bucket=bucket, hashes=hashes
                    )
                )

    async def _remove_rest(self, bucket: str) -> None:
        """Of a bucket that is gone: whatever bodies are still there, and no starred or shared call names."""
        self._count_bodies(
            await self._bodies.sweep(self._store.named, BODY_REST_S, self._clock.now(), bucket=bucket)
        )

    async def _sweep(self) -> None:
        if self._clock.monotonic() - self._swept_at_s < SWEEP_S:
            return
        self._swept_at_s = self._clock.monotonic()
        swept = await self._bodies.sweep(self._store.named, ORPHAN_S, self._clock.now())
        if swept.bodies or swept.leftover_bytes:
            _log.info("bodies that nothing names are gone", **swept._asdict())
        self._count_bodies(swept)

    async def _forget(self) -> None:
        before_us = to_us(self._clock.now()) - IDENTITIES_S * 1_000_000
        began_s = self._clock.monotonic()
        while await self._store.forget(before_us, STEP_IDENTITIES) == STEP_IDENTITIES:
            await self._pause(began_s)
            began_s = self._clock.monotonic()

    async def _give_back(self) -> None:
        given = False
        began_s = self._clock.monotonic()
        while await self._store.reclaim(STEP_PAGES):
            given = True
            await self._pause(began_s)
            began_s = self._clock.monotonic()
        if given:
            await emptied(self._store, self._clock)

    async def _pause(self, began_s: float) -> None:
        """As long as the step took, so that the disk is ingest's for half of the time at least."""
        await self._clock.sleep(max(PAUSE_LEAST_S, self._clock.monotonic() - began_s))

    def _count(self, trimmed: Trimmed, took_s: float) -> None:
        assert self.round is not None
        self.round = msgspec.structs.replace(
            self.round,
            records=self.round.records + trimmed.records,
            calls=self.round.calls + trimmed.calls,
            bytes=self.round.bytes + trimmed.bytes,
            steps=self.round.steps + 1,
            longest_step_ms=max(self.round.longest_step_ms, took_s * 1000),
        )

    def _count_bodies(self, removed: Removed) -> None:
        assert self.round is not None
        self.round = msgspec.structs.replace(
            self.round,
            bodies=self.round.bodies + removed.bodies,
            body_bytes=self.round.body_bytes + removed.body_bytes,
        )


async def emptied(store: port.Keeping, clock: Clock) -> bool:
    """Whether what was removed is out of the database's files. Readers hold it up for moments only."""
    for tried in range(CHECKPOINT_TRIES):
        if tried:
            await clock.sleep(PAUSE_LEAST_S * tried)
        if await store.checkpoint():
            return True
    _log.info("a long read keeps what was removed in the write-ahead log for a while")
    return False


def _scope(rule: Rule) -> Scope:
    key = None if rule.bucket == INSTALLATION else rule.bucket
    match rule.by:
        case "before_us":
            return Scope(key, before_us=rule.limit)
        case "keep_calls":
            return Scope(key, keep_calls=rule.limit)
        case "keep_bytes":
            return Scope(key, keep_bytes=rule.limit)
        case "deleted_before_us":
            return Scope(key, deleted_before_us=rule.limit)
