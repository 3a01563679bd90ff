"""Which generation of each read model answers, and which are being built: the same for every engine. A
model's tables are named after their generation (`call_1`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Build(msgspec.Struct, frozen=True):
    """A generation that is being built. tops: the newest number of each partition when it began; what came
    later was put in at once. done: the number up to which the records of each partition are in. decided: that
    up to which decisions about calls are."""

    version: int
    generation: int
    tops: tuple[int, ...]
    done: tuple[int, ...]
    decided: int


class Generations(msgspec.Struct, frozen=True):
    """The generation of each model that answers, and its version."""

    calls: int
    events: int
    versions: Mapping[str, int]
    builds: Mapping[str, Build]

    @property
    def call(self) -> str:
        return f"call_{self.calls}"

    @property
    def tag(self) -> str:
        return f"tag_{self.calls}"

    @property
    def body(self) -> str:
        return f"body_{self.calls}"

    @property
    def event(self) -> str:
        return f"event_{self.events}"

    def answering(self, name: str) -> int:
        return self.calls if name == "calls" else self.events

    def written(self, name: str) -> tuple[int, ...]:
        """Every generation that new records are put into."""
        build = self.builds.get(name)
        answering = self.answering(name)
        return (answering,) if build is None else (answering, build.generation)

    def answer_as(self, other: Generations) -> bool:
        return (self.calls, self.events) == (other.calls, other.events)
