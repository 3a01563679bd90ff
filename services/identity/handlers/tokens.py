"""Answers what is asked about tokens."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bus.clock import Clock
from bus.ids import derived
from bus.message import Fact
from bus.router import Delivery, Router
from schemas.identity import (
    CreateToken,
    GetToken,
    ListTokens,
    RenameToken,
    RevokeToken,
    RotateToken,
    Token,
    TokenList,
)
from schemas.identity.state import State, TokenState, team_stream, token_stream
from services.chassis.projection import Projection
from services.identity.domain import tokens as domain
from services.identity.domain.refusing import No
from services.identity.handlers.deciding import Decide, Deciding, refused
from services.identity.handlers.pages import page
from services.identity.handlers.secrets import Makes
from services.identity.handlers.uses import Uses


class Tokens:
    def __init__(
        self, deciding: Deciding, known: Projection[State], clock: Clock, makes: Makes, uses: Uses
    ) -> None:
        self._deciding = deciding
        self._known = known
        self._clock = clock
        self._makes = makes
        self._uses = uses

    def bind(self, router: Router) -> None:
        router.answers(CreateToken, self.answer_create_token)
        router.answers(ListTokens, self.answer_list_tokens)
        router.answers(GetToken, self.answer_get_token)
        router.answers(RenameToken, self.answer_rename_token)
        router.answers(RotateToken, self.answer_rotate_token)
        router.answers(RevokeToken, self.answer_revoke_token)

    async def answer_create_token(self, ask: CreateToken, delivery: Delivery) -> Token:
        id = derived(ask.command_id, "token")
        made = None if ask.sha256 else self._makes.secret("tl", ask.command_id, id)
        command = ask if made is None else msgspec.structs.replace(ask, sha256=made.sha256)

        def decide(state: State | None) -> tuple[Fact, ...]:
            team = self._known.get(team_stream(ask.team)).state
            if team is not None and team.living_team is None:
                raise No("team-unknown", f"there is no team {ask.team[:63]!r}")
            buckets = [
                bucket.key
                for each in self._known.states()
                if (bucket := each.living_bucket) is not None and bucket.team == ask.team
            ]
            now, twin = self._clock.now(), self._with_secret(command.sha256, other_than=id)
            return domain.decide_create_token(state, command, id, buckets=buckets, now=now, twin=twin)

        def did(token: TokenState) -> bool:
            return token.sha256 == command.sha256

        token = self._shown(await self._carry_out(ask.command_id, id, decide, did), id)
        return token if made is None else msgspec.structs.replace(token, secret=made.sealed_for(Token))

    def _with_secret(self, sha256: str, *, other_than: str) -> TokenState | None:
        """The token that has, or had, the secret with this digest."""
        tokens = (state.token for state in self._known.states() if state.token is not None)
        return next(
            (
                token
                for token in tokens
                if token.id != other_than
                and (token.sha256 == sha256 or any(each.sha256 == sha256 for each in token.former))
            ),
            None,
        )

    async def answer_list_tokens(self, ask: ListTokens, delivery: Delivery) -> TokenList:
        now = self._clock.now()
        mine = (
            domain.token_of(token, now, self._uses.last(token.id))
            for state in self._known.states()
            if (token := state.token) is not None and token.team == ask.team and not token.revoked
        )
        tokens, cursor = page(mine, _place, of=("tokens", ask.team), limit=ask.limit, cursor=ask.cursor)
        return TokenList(tokens, cursor)

    async def answer_get_token(self, ask: GetToken, delivery: Delivery) -> Token:
        state = await self._deciding.state(token_stream(ask.id))
        with refused():
            token = domain.living(state, ask.id, ask.team)
        return domain.token_of(token, self._clock.now(), self._uses.last(token.id))

    async def answer_rename_token(self, ask: RenameToken, delivery: Delivery) -> Token:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_rename_token(state, ask)

        def did(token: TokenState) -> bool:
            return token.name == ask.name

        return self._shown(await self._carry_out(ask.command_id, ask.id, decide, did), ask.id)

    async def answer_rotate_token(self, ask: RotateToken, delivery: Delivery) -> Token:
        made = self._makes.secret("tl", ask.command_id, f"rotated {ask.id}")

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_rotate_token(state, ask, sha256=made.sha256, now=self._clock.now())

        def did(token: TokenState) -> bool:
            return token.sha256 == made.sha256

        token = self._shown(await self._carry_out(ask.command_id, ask.id, decide, did), ask.id)
        return msgspec.structs.replace(token, secret=made.sealed_for(Token))

    async def answer_revoke_token(self, ask: RevokeToken, delivery: Delivery) -> Token:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_revoke_token(state, ask)

        def did(token: TokenState) -> bool:
            return token.revoked

        return self._shown(await self._carry_out(ask.command_id, ask.id, decide, did), ask.id)

    async def _carry_out(
        self, command_id: str, id: str, decide: Decide, did: Callable[[TokenState], bool]
    ) -> TokenState | None:
        def did_it(state: State) -> bool:
            return state.token is not None and did(state.token)

        _, after = await self._deciding.carry_out(command_id, token_stream(id), id, "_", decide, did=did_it)
        return after.token if after is not None else None

    def _shown(self, token: TokenState | None, id: str) -> Token:
        with refused():
            known = domain.known(State(token=token), id, "")
        return domain.token_of(known, self._clock.now(), self._uses.last(id))


def _place(token: Token) -> str:
    """Oldest first."""
    return f"{token.created_at.isoformat(timespec='microseconds')} {token.id}"
