"""Erasures: what one is, and what the log tells of it. Pure.

Stream `vault.erasure-<id>`: ErasureOrdered, CallsErased for each step, ErasureFinished. The id derives from
the command's, so that a repeated command finds what it did. Nothing in it repeats what must be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from bus.errors import Refused
from bus.event import Event
from schemas.request_vault import (
    CATEGORY,
    CallsErased,
    EraseBucket,
    EraseCall,
    EraseSubject,
    Erasure,
    ErasureFinished,
    ErasureOrdered,
)
from schemas.request_vault.keeping import ErasureKind
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.recording import MAX_NAME_CHARS
from services.request_vault.domain.sought import invalid, sought

MAX_COMMAND_ID_CHARS = 200
MAX_WHY_CHARS = 1000

_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

EraseAsk = EraseCall | EraseSubject | EraseBucket


class Order(msgspec.Struct, frozen=True):
    """What was ordered, whole. where: as in ErasureOrdered. value, header, path: of a subject. upto: the
    newest numbers when it was ordered; of: the calls that the bucket had then."""

    id: str
    bucket: str
    kind: ErasureKind
    ordered_at: datetime
    where: str = ""
    value: str = ""
    header: str = ""
    path: str = ""
    why: str = ""
    by: str = ""
    upto: Vector = {}
    of: int = 0

    def same_as(self, other: Order) -> bool:
        """Whether one command made both."""
        return msgspec.structs.replace(
            other, ordered_at=self.ordered_at, upto=self.upto, of=self.of
        ) == self  # fmt: skip

    def fact(self) -> ErasureOrdered:
        return ErasureOrdered(self.id, self.bucket, self.kind, self.where, self.why, self.by)


class Work(msgspec.Struct, frozen=True):
    """How far an erasure has come. after: up to where the log was looked through. doing, doing_bodies: calls
    that are being erased, and their bodies. calls, bodies: how many are gone."""

    order: Order
    after: Vector = {}
    looked_at: int = 0
    doing: tuple[str, ...] = ()
    doing_bodies: tuple[str, ...] = ()
    calls: int = 0
    bodies: int = 0

    def told(self) -> Erasure:
        order = self.order
        return Erasure(
            order.id, order.bucket, order.kind, "running", self.calls, self.bodies, self.looked_at, order.of
        )


class Told(msgspec.Struct, frozen=True):
    """What the log tells of an erasure."""

    ordered: ErasureOrdered
    erasure: Erasure


def erasure_stream(id: str) -> str:
    return f"{CATEGORY}.erasure-{id}"


def order(ask: EraseAsk, id: str, *, now: datetime, upto: Vector, of: int) -> Order:
    """What a command orders. id: derived from the command's. Raises Refused("erasure-invalid")."""
    if not 0 < len(ask.command_id) <= MAX_COMMAND_ID_CHARS:
        raise Refused("command-invalid", f"command_id must have 1 to {MAX_COMMAND_ID_CHARS} characters")
    for name, text, most in (
        ("why", ask.why, MAX_WHY_CHARS),
        ("actor", ask.actor, MAX_NAME_CHARS),
        ("bucket", ask.bucket, MAX_NAME_CHARS),
    ):
        if len(text) > most or _UNWRITABLE.search(text) is not None:
            raise invalid(name, f"at most {most} characters, and no control characters")
    ordered = Order(
        id,
        ask.bucket,
        "bucket",
        now,
        why=ask.why,
        by=ask.actor,
        upto=upto,
        of=of,
    )
    match ask:
        case EraseCall():
            return msgspec.structs.replace(ordered, kind="call", where=ask.id, of=1)
        case EraseSubject():
            where = sought(ask).where
            return msgspec.structs.replace(
                ordered, kind="subject", where=where, value=ask.value, header=ask.header, path=ask.path
            )
        case EraseBucket():
            return ordered


def told(events: Iterable[Event]) -> Told | None:
    """Folded from the erasure's stream; None when nothing was ordered."""
    found: Told | None = None
    for event in events:
        match event.type:
            case ErasureOrdered.TYPE:
                ordered = event.read(ErasureOrdered)
                found = Told(ordered, Erasure(ordered.id, ordered.bucket, ordered.kind, "running", 0))
            case CallsErased.TYPE if found is not None:
                calls = found.erasure.calls + len(event.read(CallsErased).calls)
                found = Told(found.ordered, msgspec.structs.replace(found.erasure, calls=calls))
            case ErasureFinished.TYPE if found is not None:
                finished = event.read(ErasureFinished)
                found = Told(
                    found.ordered,
                    msgspec.structs.replace(
                        found.erasure, state="finished", calls=finished.calls, bodies=finished.bodies
                    ),
                )
    return found
