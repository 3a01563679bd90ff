"""What has to follow when a bucket or a team ends: the vault erases the bucket's calls; the team's buckets
are deleted and its tokens revoked. Taken from the bus, so that it is finished whoever dies in between.

It is looked at again after a while (LOOKS_AGAIN_AFTER_S), because an edge or another instance may not have
heard of the end when it came: calls that were on their way then are erased too, as are buckets and tokens
that were made at that moment. What comes later still, the vault removes with what a deleted bucket held.
"""

from __future__ import annotations

from bus.errors import Refused, Retry
from bus.ids import derived
from bus.router import Delivery, Router
from schemas.identity import ENDINGS, BucketDeleted, DeleteBucket, RevokeToken, TeamDeleted
from schemas.identity.state import State
from schemas.request_vault import EraseBucket
from services.chassis.projection import Projection
from services.identity.handlers.buckets import Buckets
from services.identity.handlers.deciding import Deciding
from services.identity.handlers.tokens import Tokens

LOOKS_AGAIN_AFTER_S = (10.0, 600.0)
WITHIN_S = 300.0


class Endings:
    def __init__(
        self, deciding: Deciding, known: Projection[State], buckets: Buckets, tokens: Tokens
    ) -> None:
        self._deciding = deciding
        self._known = known
        self._buckets = buckets
        self._tokens = tokens

    def router(self) -> Router:
        router = Router(ENDINGS, deadline_s=WITHIN_S)
        router.on(BucketDeleted, self.on_bucket_deleted)
        router.on(TeamDeleted, self.on_team_deleted)
        return router

    async def on_bucket_deleted(self, deleted: BucketDeleted, delivery: Delivery) -> None:
        command_id = derived("bucket deleted", deleted.key, str(delivery.attempt))
        ask = EraseBucket(command_id, deleted.key, why="the bucket was deleted", actor=deleted.by)
        await self._deciding.vault(ask)
        _look_again(delivery)

    async def on_team_deleted(self, deleted: TeamDeleted, delivery: Delivery) -> None:
        await self._known.refresh()
        for state in list(self._known.states()):
            bucket, token = state.living_bucket, state.token
            if bucket is not None and bucket.team == deleted.id:
                command_id = derived("team deleted", deleted.id, bucket.key)
                ask = DeleteBucket(command_id, bucket.key, actor=deleted.by)
                try:
                    await self._buckets.answer_delete_bucket(ask, delivery)
                except Refused as refused:
                    if refused.reason != "bucket-unknown":  # somebody else deleted it meanwhile
                        raise
            if token is not None and token.team == deleted.id and not token.revoked:
                command_id = derived("team deleted", deleted.id, token.id)
                await self._tokens.answer_revoke_token(
                    RevokeToken(command_id, token.id, actor=deleted.by), delivery
                )
        _look_again(delivery)


def _look_again(delivery: Delivery) -> None:
    """Raises Retry, unless this was the last look."""
    if delivery.attempt < len(LOOKS_AGAIN_AFTER_S):
        raise Retry("it is looked at again", after_s=LOOKS_AGAIN_AFTER_S[delivery.attempt])
