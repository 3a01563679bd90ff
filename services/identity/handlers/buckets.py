"""Answers what is asked about buckets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from bus.clock import Clock
from bus.errors import Refused
from bus.message import Fact
from bus.router import Delivery, Router
from schemas.identity import (
    Bucket,
    BucketAuth,
    BucketList,
    DeleteBucket,
    GetBucket,
    ListBuckets,
    PatchBucket,
    PutBucket,
    RemoveBucketAuth,
    RotateBucketKey,
    SetBucketAuth,
)
from schemas.identity.state import BucketState, State, bucket_stream, evolve, team_stream
from services.chassis.projection import Projection
from services.identity.domain import buckets as domain
from services.identity.handlers.deciding import Decide, Deciding, read
from services.identity.handlers.pages import page
from services.identity.handlers.secrets import Makes


class Buckets:
    def __init__(self, deciding: Deciding, known: Projection[State], clock: Clock, makes: Makes) -> None:
        self._deciding = deciding
        self._known = known
        self._clock = clock
        self._makes = makes

    def bind(self, router: Router) -> None:
        router.answers(PutBucket, self.answer_put_bucket)
        router.answers(PatchBucket, self.answer_patch_bucket)
        router.answers(GetBucket, self.answer_get_bucket)
        router.answers(ListBuckets, self.answer_list_buckets)
        router.answers(RotateBucketKey, self.answer_rotate_bucket_key)
        router.answers(SetBucketAuth, self.answer_set_bucket_auth)
        router.answers(RemoveBucketAuth, self.answer_remove_bucket_auth)
        router.answers(DeleteBucket, self.answer_delete_bucket)

    async def answer_put_bucket(self, ask: PutBucket, delivery: Delivery) -> Bucket:
        key = ask.key or domain.key_from(ask.command_id)
        await self._check_team(ask.team)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_put_bucket(state, ask, key, taken=self._is_address(key, other_than=key))

        def did(bucket: BucketState) -> bool:
            now = bucket.bucket
            return (now.name, domain.settings_of(now)) == (ask.name, domain.settings_of(ask))

        _, after = await self._carry_out(ask.command_id, key, decide, did)
        return self._shown(after, key)

    async def answer_patch_bucket(self, ask: PatchBucket, delivery: Delivery) -> Bucket:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_patch_bucket(state, ask)

        def did(bucket: BucketState) -> bool:
            return all(getattr(bucket.bucket, name) == value for name, value in domain.given(ask).items())

        _, after = await self._carry_out(ask.command_id, ask.key, decide, did)
        return self._shown(after, ask.key)

    async def answer_get_bucket(self, ask: GetBucket, delivery: Delivery) -> Bucket:
        if ask.at is not None and ask.at.tzinfo is None:
            raise Refused("bucket-invalid", "at must name its time zone, as in 2030-01-01T00:00:00Z")
        if not domain.is_key(ask.key) or (ask.allowed_buckets and ask.key not in ask.allowed_buckets):
            raise _unknown(ask.key)
        stream = bucket_stream(ask.key)
        if ask.at is not None:
            bucket = await self._bucket_at(stream, ask.key, ask.at, ask.team)
        else:
            bucket = self._shown(await self._deciding.state(stream), ask.key)
        if ask.team not in ("", bucket.team):
            raise _unknown(ask.key)
        return bucket

    async def answer_list_buckets(self, ask: ListBuckets, delivery: Delivery) -> BucketList:
        now = self._clock.now()
        mine = (
            domain.shown(bucket, now)
            for state in self._known.states()
            if (bucket := state.living_bucket) is not None
            and bucket.team == ask.team
            and (not ask.allowed_buckets or bucket.key in ask.allowed_buckets)
        )
        of = ("buckets", ask.team, *ask.allowed_buckets)
        buckets, next_cursor = page(mine, _place, of=of, limit=ask.limit, cursor=ask.cursor)
        return BucketList(buckets, next_cursor)

    async def answer_rotate_bucket_key(self, ask: RotateBucketKey, delivery: Delivery) -> Bucket:
        address = domain.key_from(ask.command_id, "address")

        def decide(state: State | None) -> tuple[Fact, ...]:
            taken = self._is_address(address, other_than=ask.key)
            return domain.decide_rotate_key(state, ask, address=address, now=self._clock.now(), taken=taken)

        def did(bucket: BucketState) -> bool:
            return bucket.bucket.address == address

        _, after = await self._carry_out(ask.command_id, ask.key, decide, did)
        return self._shown(after, ask.key)

    async def answer_set_bucket_auth(self, ask: SetBucketAuth, delivery: Delivery) -> BucketAuth:
        made = self._makes.secret("tlb", ask.command_id, ask.key)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_guard(state, ask.key, ask.team, made.sha256, ask.actor)

        def did(bucket: BucketState) -> bool:
            return bucket.guard_sha256 == made.sha256

        await self._carry_out(ask.command_id, ask.key, decide, did)
        return BucketAuth(ask.key, made.sealed_for(BucketAuth))

    async def answer_remove_bucket_auth(self, ask: RemoveBucketAuth, delivery: Delivery) -> Bucket:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_guard(state, ask.key, ask.team, "", ask.actor)

        def did(bucket: BucketState) -> bool:
            return not bucket.guard_sha256

        _, after = await self._carry_out(ask.command_id, ask.key, decide, did)
        return self._shown(after, ask.key)

    async def answer_delete_bucket(self, ask: DeleteBucket, delivery: Delivery) -> Bucket:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_delete_bucket(state, ask)

        def did(bucket: BucketState) -> bool:
            return bucket.deleted

        before, _ = await self._carry_out(ask.command_id, ask.key, decide, did)
        return self._shown(before, ask.key)

    async def _carry_out(
        self, command_id: str, key: str, decide: Decide, did: Callable[[BucketState], bool]
    ) -> tuple[State | None, State | None]:
        def did_it(state: State) -> bool:
            return state.bucket is not None and did(state.bucket)

        return await self._deciding.carry_out(command_id, bucket_stream(key), key, key, decide, did=did_it)

    async def _bucket_at(self, stream: str, key: str, at: datetime, team: str) -> Bucket:
        """Folded from the log, where the projection knows only today's. Raises Refused."""
        state: State | None = None
        async for event, recorded_at in self._deciding.decisions(stream):
            if recorded_at > at:
                break
            state = evolve(state, read(event), event.time)
            known = state.bucket if state is not None else None
            if known is not None and known.deleted and team in ("", known.bucket.team):
                when = recorded_at.isoformat(timespec="seconds").replace("+00:00", "Z")
                raise Refused("bucket-gone", f"bucket {key[:40]} was deleted at {when}")
        bucket = state.living_bucket if state is not None else None
        if bucket is None:
            raise _unknown(key)
        return domain.shown(bucket, at)

    async def _check_team(self, team: str) -> None:
        state = self._known.get(team_stream(team)).state
        if state is not None and state.living_team is None:
            raise Refused("team-unknown", f"there is no team {team[:63]!r}")

    def _is_address(self, address: str, *, other_than: str) -> bool:
        """Whether the gateway is, or was, called by this for another bucket, though it be deleted."""
        others = (state.bucket.bucket for state in self._known.states() if state.bucket is not None)
        return any(
            address == bucket.address or any(address == former.address for former in bucket.former_addresses)
            for bucket in others
            if bucket.key != other_than
        )

    def _shown(self, state: State | None, key: str) -> Bucket:
        bucket = state.living_bucket if state is not None else None
        if bucket is None:
            raise _unknown(key)
        return domain.shown(bucket, self._clock.now())


def _place(bucket: Bucket) -> str:
    """Oldest first."""
    return f"{bucket.created_at.isoformat(timespec='microseconds')} {bucket.key}"


def _unknown(key: str) -> Refused:
    return Refused("bucket-unknown", f"there is no bucket {key[:40]!r}")
