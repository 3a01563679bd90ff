"""Who changed what: every decision about a team, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bus.message import Ask, Fact


class AuditEntry(msgspec.Struct, frozen=True):
    """id, type: the event's. by: the id of the token or person who did it, empty for the system or somebody
    on the bus; by_name: the token's name or the person's e-mail address. about: what it concerns (a bucket's
    key, a token's id, a call's id ...). bucket: the bucket's key, `_` when it concerns none. data: the
    event's, hashes and sealed secrets left out."""

    id: str
    at: datetime
    type: str
    by: str
    by_name: str
    about: str
    bucket: str
    data: Any


class AuditPage(Fact, frozen=True):
    """A page may have fewer entries than asked for though there are more: only `next_cursor` says that this
    is the end."""

    TYPE = "identity.audit.page"

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None = None


class ReadAudit(Ask[AuditPage], frozen=True):
    """What was changed in a team and by whom, newest first: its members, tokens, buckets, and what was
    starred, annotated, shared, deleted and erased.

    since: at that moment or later. before: earlier than that. by: the id of a token or person, or an e-mail
    address. type (the field `types`): topic patterns over the type, such as `identity.token.*`. limit: 1 to
    500. cursor: the `next_cursor` of the page before, with the same filters. Refused: team-unknown,
    cursor-invalid, pattern-invalid, list-invalid.
    """

    TYPE = "identity.audit.read"

    id: str
    team: str = ""
    since: datetime | None = None
    before: datetime | None = None
    by: str = ""
    types: tuple[str, ...] = msgspec.field(default=(), name="type")
    limit: int = 100
    cursor: str = ""
    allowed_buckets: tuple[str, ...] = ()
