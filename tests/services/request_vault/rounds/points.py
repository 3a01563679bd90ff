"""Where a vault is killed. A new point is a new line, of both engines or of one.

A point names a function as `module:qualified.name`. Its process dies before, after or in the middle of the
nth call of it, so that nothing of the process goes on: no handler, no flush, no rollback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Engine = Literal["sqlite", "postgres"]

STORES: Mapping[Engine, str] = {
    "sqlite": "services.request_vault.store.sqlite.engine:SqliteStore",
    "postgres": "services.request_vault.store.postgres.engine:PostgresStore",
}
SQLITE = "services.request_vault.store.sqlite"
POSTGRES = "services.request_vault.store.postgres"
BODIES = "services.request_vault.store.bodies"
PUBLISHING = "services.request_vault.worker.publishing"
KEEPING = "services.request_vault.worker.keeping:Keeping"
STATEMENTS = "asyncpg.connection:Connection.execute"


@dataclass(frozen=True)
class Point:
    """when: `amid` a coroutine is when it waits for the first time. holds: a function that never begins, so
    that what it does cannot have happened. lingers_s: how long the function's thread stands still before the
    process dies, so that whatever others promised too early is on its way. asks: the function's argument,
    itself a function, whose calls count instead. counts: which calls do, by their arguments. most_hits: the
    largest number of a call that is sure to come."""

    when: Literal["before", "after", "amid"]
    function: str
    holds: str | None = None
    lingers_s: float = 0.0
    asks: int | None = None
    counts: Callable[..., bool] | None = None
    most_hits: int = 6


def _says(*beginnings: str) -> Callable[..., bool]:
    """Statements that begin so."""
    return lambda connection, statement, *arguments, **named: statement.startswith(beginnings)


def _is_ordered(*arguments: Any, **named: Any) -> bool:
    """Of what is emitted: the decisions that the vault publishes."""
    return named.get("ordered") is True


def _of_both(store: str) -> dict[str, Point]:
    return {
        "after a record's commit, before its acknowledgement": Point("after", f"{store}.record"),
        "after an append's commit, before its answer": Point("after", f"{store}.append"),
        "after an answer, before its decision is published": Point(
            "after",
            "tests.services.request_vault.rounds.workload:told",
            holds=f"{PUBLISHING}:Publishing._publish_page",
        ),
        "before a page of decisions is published": Point("before", f"{PUBLISHING}:_runs"),
        "in the middle of a page that is published": Point(
            "after", "bus.connect:Bus.emit", counts=_is_ordered
        ),
        "after a page is published, before the checkpoint": Point("before", f"{store}.mark_published"),
        "after the checkpoint": Point("after", f"{store}.mark_published"),
        "in the middle of a rebuild": Point("after", f"{store}.rebuild"),
        "while an old model is dropped": Point("after", f"{store}.drop_old"),
        "after a step of retention, before its bodies go": Point("after", f"{store}.trim"),
        "while bodies go": Point("after", f"{BODIES}.files:remove"),
        "after retention, before it is told": Point("before", f"{KEEPING}._tell"),
        "after retention, before its disk is given back": Point("before", f"{store}.reclaim"),
        "before a backup, or its name, is on disk": Point("before", f"{SQLITE}.copying:sync"),
    }


_OF_SQLITE = {
    "before the commit": Point("after", f"{SQLITE}.ledger:Ledger.store_changes", lingers_s=0.2),
    "before the commit of a swap": Point("after", f"{SQLITE}.models.building:_swap"),
    "before the commit of a step of retention": Point("after", f"{SQLITE}.trimming:remove", lingers_s=0.05),
    "after retention's disk is given back, before the files are rid of it": Point(
        "before", f"{STORES['sqlite']}.checkpoint", most_hits=3
    ),
    "in the middle of a backup": Point("after", f"{SQLITE}.copying:copy", asks=2),
}

_OF_POSTGRES = {
    "between the heads' lock and what is added": Point("after", f"{POSTGRES}.known:Known.load"),
    "before the commit": Point("after", f"{POSTGRES}.additions:Additions.write"),
    "while the server commits": Point(
        "amid", STATEMENTS, counts=lambda _, said, *more, **named: said == "COMMIT"
    ),
    "between a leaf's making and what goes into it": Point(
        "after", f"{POSTGRES}.schema:create_leaf", most_hits=2
    ),
    "as soon as it leads": Point("after", f"{POSTGRES}.watch:Watch._take_lead", most_hits=1),
    "before the commit of a swap": Point("after", STATEMENTS, counts=_says("DELETE FROM build")),
    "before the commit of a step of retention": Point("after", f"{POSTGRES}.trimming:trim"),
    "before the commit of copying survivors out of a day": Point(
        "after", STATEMENTS, counts=_says("UPDATE call_", "UPDATE event_"), most_hits=2
    ),
    "in the middle of copying survivors out of a day": Point(
        "after", f"{POSTGRES}.reclaiming:_copy_out", most_hits=2
    ),
    "after survivors are copied out, before the day goes": Point(
        "before", STATEMENTS, counts=_says("ALTER TABLE record_30 DETACH"), most_hits=1
    ),
    "while a day is taken out of the log": Point(
        "amid", STATEMENTS, counts=_says("ALTER TABLE record_30 DETACH"), most_hits=1
    ),
    "after a day is taken out of the log, before it is dropped": Point(
        "before", f"{POSTGRES}.reclaiming:_drop", most_hits=1
    ),
    "in the middle of a backup": Point("after", f"{POSTGRES}.linking:links"),
}

POINTS: Mapping[Engine, Mapping[str, Point]] = {
    "sqlite": _of_both(STORES["sqlite"]) | _OF_SQLITE,
    "postgres": _of_both(STORES["postgres"]) | _OF_POSTGRES,
}
