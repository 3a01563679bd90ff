"""How a category of decisions becomes state, said by whoever follows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from bus.message import Fact

S = TypeVar("S")

Evolve = Callable[[S | None, Fact, datetime], S | None]
Change = Callable[[str, S | None, S | None], None]


class Folded(msgspec.Struct, Generic[S], frozen=True, array_like=True):
    """One stream: its version, and its state, None once it was deleted."""

    version: int
    state: S | None


class Fold(msgspec.Struct, Generic[S], frozen=True):
    """How a category becomes state.

    version: of `evolve` and the state's type; raise it when either changes, and old snapshots are read no
    more. facts: the types that `evolve` knows. evolve(state, fact, time) -> state: pure; None is "nothing
    there". changed(stream, before, after): called after each application, for indexes kept beside.
    """

    category: str
    version: int
    state: type[S]
    facts: tuple[type[Fact], ...]
    evolve: Evolve[S]
    changed: Change[S] | None = None
