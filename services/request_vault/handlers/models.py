"""Asks for a read model to be built anew."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bus.errors import Refused
from bus.router import Delivery, Router
from schemas.request_vault import ModelState, RebuildModel
from services.request_vault.store import port


class Models:
    """ordered(name): called with the model to rebuild; returns at once."""

    def __init__(self, store: port.Models, *, ordered: Callable[[str], None]) -> None:
        self._store = store
        self._ordered = ordered

    def bind(self, router: Router) -> None:
        router.answers(RebuildModel, self.answer_rebuild_model)

    async def answer_rebuild_model(self, ask: RebuildModel, delivery: Delivery) -> ModelState:
        models = {model.name: model for model in self._store.models()}
        model = models.get(ask.name)
        if model is None:
            raise Refused(
                "model-unknown", f"there is no model {ask.name[:80]!r}; there are {', '.join(sorted(models))}"
            )
        self._ordered(model.name)
        if model.state == "rebuilding":
            return model
        return msgspec.structs.replace(model, state="rebuilding", done=0)
