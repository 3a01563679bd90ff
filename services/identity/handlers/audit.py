"""Answers who changed what in a team: the decisions of identity and of the vault, newest first."""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec

from bus import codec, topics
from bus.errors import Refused, TopicInvalid
from bus.router import Delivery, Router
from schemas.identity import CATEGORY, AuditEntry, AuditPage, ReadAudit
from schemas.identity.state import State, team_stream
from schemas.request_vault import MAX_KEYS, MAX_PAGE, ReadDecisions, Recorded
from services.chassis.projection import Projection
from services.identity.domain import audit as domain
from services.identity.domain.addresses import address_from
from services.identity.domain.refusing import No
from services.identity.domain.teams import check_own, unknown
from services.identity.handlers.deciding import Deciding, refused
from services.identity.handlers.pages import MAX_LIMIT, cursor_of, opened_cursor
from services.identity.handlers.persons import person_of

MAX_PATTERNS = 50
MAX_READS = 10
"""Of the log, for one page: it may then be short."""
MAX_BYTES = 400_000
"""Of one page's data: it is to fit one frame of the bus."""
NO_BUCKET = "_"


class Audit:
    def __init__(self, deciding: Deciding, known: Projection[State]) -> None:
        self._deciding = deciding
        self._known = known

    def bind(self, router: Router) -> None:
        router.answers(ReadAudit, self.answer_read_audit)

    async def answer_read_audit(self, ask: ReadAudit, delivery: Delivery) -> AuditPage:
        with refused():
            check_own(ask.id, ask.team)
            of = await self._deciding.state(team_stream(ask.id))
            if of is None or of.team is None:
                raise unknown(ask.id)
        wanted = _Wanted(ask, self._by(ask.by))
        keys = self._keys(ask)
        entries: list[AuditEntry] = []
        before, size_bytes = wanted.before, 0
        for _ in range(MAX_READS):
            if not wanted.types:
                return AuditPage(())
            page = await self._deciding.vault(
                ReadDecisions(before=before, types=wanted.types, keys=keys, limit=MAX_PAGE)
            )
            for record in page.records:
                if ask.since is not None and record.recorded_at < ask.since:
                    return AuditPage(tuple(entries))
                entry = self._entry(record, wanted)
                if entry is None:
                    continue
                size_bytes += len(record.event)
                if len(entries) == ask.limit or (entries and size_bytes > MAX_BYTES):
                    return AuditPage(tuple(entries), wanted.cursor(before))
                entries.append(entry)
                before = record.position[1]
            before = page.next_before
            if not before:
                return AuditPage(tuple(entries))
            if len(entries) == ask.limit:
                break
        return AuditPage(tuple(entries), wanted.cursor(before))

    def _entry(self, record: Recorded, wanted: _Wanted) -> AuditEntry | None:
        """None for what is not asked for."""
        ask = wanted.ask
        event = codec.decode_event(record.event)
        if ask.before is not None and record.recorded_at >= ask.before:
            return None
        fact = event.read(domain.TOLD[event.type])
        if event.type.startswith(f"{CATEGORY}."):
            if not domain.concerns(fact, ask.id, self._state):
                return None
        elif event.key == NO_BUCKET:  # of the vault, about the whole installation
            return None
        by: str = getattr(fact, "by", "")
        if wanted.by and by != wanted.by:
            return None
        return AuditEntry(
            id=event.id,
            at=record.recorded_at,
            type=event.type,
            by=by,
            by_name=domain.name_of(by, ask.id, self._state),
            about=domain.about(fact, event.subject, self._state),
            bucket=event.key,
            data=domain.told(codec.to_cloudevent(event)["data"]),
        )

    def _keys(self, ask: ReadAudit) -> tuple[str, ...]:
        """The event keys to look at: of the team's buckets, deleted ones too, and where no bucket is
        concerned."""
        buckets = [
            state.bucket.bucket.key
            for state in self._known.states()
            if state.bucket is not None
            and state.bucket.bucket.team == ask.id
            and (not ask.allowed_buckets or state.bucket.bucket.key in ask.allowed_buckets)
        ]
        # Of more than these, the newest.
        shown = tuple(buckets[-(MAX_KEYS - 1) :])
        if ask.allowed_buckets:
            return shown or ("",)  # no event has this key
        return (NO_BUCKET, *shown)

    def _by(self, text: str) -> str:
        try:
            return person_of(address_from(text)) if "@" in text else text
        except No:
            return text

    def _state(self, stream: str) -> State | None:
        return self._known.get(stream).state


class _Wanted:
    """An ask that was checked. Raises Refused. types: by name. before: the number where the page begins."""

    def __init__(self, ask: ReadAudit, by: str) -> None:
        self.ask = ask
        self.by = by
        if not 1 <= ask.limit <= MAX_LIMIT:
            raise Refused("list-invalid", f"limit {ask.limit} is not from 1 to {MAX_LIMIT}")
        if len(ask.types) > MAX_PATTERNS:
            raise Refused("list-invalid", f"type: {len(ask.types)} patterns; at most {MAX_PATTERNS}")
        for name, moment in (("since", ask.since), ("before", ask.before)):
            if moment is not None and moment.tzinfo is None:
                raise Refused("list-invalid", f"{name} must name its time zone, as in 2030-01-01T00:00:00Z")
        try:
            for pattern in ask.types:
                topics.check_pattern(pattern)
        except TopicInvalid as error:
            raise Refused("pattern-invalid", f"type: {error}") from error
        matches = topics.Matcher(ask.types) if ask.types else None
        self.types = tuple(name for name in domain.TOLD if matches is None or matches(name))
        of = (ask.id, _text(ask.since), _text(ask.before), by, ask.types, ask.allowed_buckets)
        self._bound = hashlib.sha256(msgspec.json.encode(("audit", *of))).hexdigest()[:16]
        self.before = self._opened(ask.cursor) if ask.cursor else 0

    def cursor(self, before: int) -> str:
        return cursor_of(self._bound, str(before))

    def _opened(self, cursor: str) -> int:
        text = opened_cursor(cursor, self._bound)
        if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text)):
            raise Refused("cursor-invalid", "no page of this list ended with this cursor")
        return int(text)


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment is not None else ""
