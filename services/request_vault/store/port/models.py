"""Read models: building them anew beside the old, and keeping them small."""

from __future__ import annotations

from typing import Protocol

from schemas.request_vault import ModelState


class Models(Protocol):
    """Driven by one task, `worker.rebuilding`."""

    def models(self) -> tuple[ModelState, ...]:
        """One whose version is not today's is `rebuilding` too, though nobody may have begun."""

    async def rebuild(self, name: str, most: int) -> ModelState:
        """One small step: begin to build the model beside the one that answers, put in at most `most`
        records, or let it take the other's place. `ready` when it has. What was done survives a restart. One
        caller at a time. Raises Refused("model-unknown")."""

    async def is_wasteful(self, name: str) -> bool:
        """Whether a model takes much more disk than what is in it needs, since records were removed, or is
        being written anew for that. False of one that nothing was removed from since it was asked."""

    async def rewrite(self, name: str, most: int) -> bool:
        """One small step of writing what a model holds into other tables, which take the place of those that
        `drop_old` drops then; at most `most` records. Whether there is more to do. What was done survives a
        restart. One caller at a time, which is that of `rebuild`."""

    async def drop_old(self, most: int) -> bool:
        """One small step of removing what no longer answers; whether more is left."""
