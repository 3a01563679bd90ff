"""How long calls are kept, and how they are erased for good.

Streams: `vault.retention-<bucket>` and `vault.erasure-<id>`. What goes by retention is observations only;
what is erased is whatever the log holds of a call, its marks included.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bus.message import Ask, Fact
from schemas.request_vault.log import Position

ErasureKind = Literal["call", "subject", "bucket"]


class CallsExpired(Fact, frozen=True):
    """A round of retention. Key and subject: the bucket, `_` for a round over the whole installation.

    records: how many observations went, calls among them; `first` to `last`: between which positions."""

    TYPE = "vault.call.expired"
    ORDERED = True

    bucket: str
    reason: Literal["age", "count", "bytes", "deleted"]
    records: int
    calls: int
    first: Position
    last: Position


class ErasureOrdered(Fact, frozen=True):
    """Subject: the erasure's id. Says what is erased without repeating what must be forgotten: of a subject
    only where it was looked for (`header x-user-id`, `json $.user.id`)."""

    TYPE = "vault.erasure.ordered"
    ORDERED = True

    id: str
    bucket: str
    kind: ErasureKind
    where: str = ""
    why: str = ""
    by: str = ""


class CallsErased(Fact, frozen=True):
    """Some calls of an erasure are gone: body, index rows and payload. The log keeps their digests."""

    TYPE = "vault.call.erased"
    ORDERED = True

    erasure: str
    bucket: str
    calls: tuple[str, ...]
    why: str = ""
    by: str = ""


class ErasureFinished(Fact, frozen=True):
    TYPE = "vault.erasure.finished"
    ORDERED = True

    id: str
    bucket: str
    calls: int
    bodies: int


class Erasure(msgspec.Struct, frozen=True):
    """How far an erasure has come. looked_at: of how many calls (`of`) it has looked at."""

    id: str
    bucket: str
    kind: ErasureKind
    state: Literal["running", "finished"]
    calls: int
    bodies: int = 0
    looked_at: int = 0
    of: int = 0


class EraseCall(Ask[Erasure], frozen=True):
    """Erase one call for good, and all that was said of it; done when it is answered.

    why: at most 1000 characters, kept in the log for ever. A body that another call has too stays. Refused:
    call-unknown, erasure-invalid.
    """

    TYPE = "vault.calls.erase"

    command_id: str
    bucket: str
    id: str
    why: str = ""
    actor: str = ""


class EraseSubject(Ask[Erasure], frozen=True):
    """Erase every call of a bucket in which a value stands, in request or response.

    header: the header's name; or path: a JSON path (RFC 9535, without filters) into JSON bodies, such as
    `$.user.id` or `$..email`. value: the header's or the JSON value's text, whole. A JSON body that cannot be
    read to its end, because it was cut at the bucket's cap, counts when the value stands anywhere in what was
    kept. It takes the calls that were recorded until it was ordered. It goes on after the answer; GetErasure
    tells how far it is. why: as in EraseCall. Refused: erasure-invalid.
    """

    TYPE = "vault.subject.erase"

    command_id: str
    bucket: str
    value: str
    header: str = ""
    path: str = ""
    why: str = ""
    actor: str = ""


class EraseBucket(Ask[Erasure], frozen=True):
    """Erase every observation of a bucket that was recorded until it was ordered, starred and shared calls
    too, and what was said of them. It goes on after the answer; GetErasure tells how far it is. why: as in
    EraseCall. Refused: erasure-invalid."""

    TYPE = "vault.bucket.erase"

    command_id: str
    bucket: str
    why: str = ""
    actor: str = ""


class GetErasure(Ask[Erasure], frozen=True):
    """Refused: erasure-unknown."""

    TYPE = "vault.erasure.get"

    bucket: str
    id: str


KEEPING_FACTS = (CallsExpired, ErasureOrdered, CallsErased, ErasureFinished)
