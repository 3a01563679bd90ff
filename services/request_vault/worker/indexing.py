"""The text index, built behind the log: calls can be found by their words a moment after they can be read.

One task: what the store says is not indexed -> its bodies -> its words, in a thread, a few calls at a time ->
the store. Recording goes first: after each few calls it waits a little when calls were recorded meanwhile. A
body may arrive after the event that names it. A young call waits for it, and those behind it; an older one is
indexed without, and once more when the body arrives within LATE_S.

Of several instances the one that leads does it; it finds what others recorded when it looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import structlog

from bus import codec
from bus.clock import Clock
from bus.errors import BusError, Malformed, Refused
from schemas.request_vault import Position
from schemas.traffic_gateway import Body, CallCaptured
from services.calls import words
from services.request_vault.domain.recording import to_us
from services.request_vault.store.bodies import Bodies
from services.request_vault.store.port import CallText, Store, TextSource

STEP_CALLS = 256
SLICE_CALLS = 16
"""Words of so many calls are looked for without a pause, which takes 1 to 2 ms of the interpreter."""
GIVE_WAY_S = 0.005
GATHER_S = 0.1
"""Least time between two steps when the index is up to date, so that steps do not become small."""
LOOK_S = 1.0
"""How often it looks for work that nobody told of."""
BODY_WAIT_S = 5.0
BODY_POLL_S = 0.25
LATE_S = 3600.0
LATE_CALLS = 200
RETRY_FIRST_S = 0.5
RETRY_MOST_S = 15.0

_READ_BYTES = 2 * words.BODY_TEXT_BYTES

_log = structlog.get_logger("request_vault")


class _Read(msgspec.Struct, frozen=True):
    """A call and those of its bodies that do not ride in the event. missing: the hashes of those that are not
    there yet."""

    source: TextSource
    call: CallCaptured
    bodies: dict[str, bytes]
    missing: tuple[str, ...]


class Indexing:
    def __init__(self, store: Store, bodies: Bodies, clock: Clock) -> None:
        self._store = store
        self._bodies = bodies
        self._clock = clock
        self._recorded = asyncio.Event()
        self._urgent = asyncio.Event()
        self._purging = 0  # how many wait for that
        self._giving_way = False
        self._more = False
        self._late_after: Position | None = None
        self._late_looked_at = clock.monotonic()

    def wake(self, calls: object = None) -> None:
        """Calls were recorded or erased; which does not matter. Returns at once."""
        self._recorded.set()
        self._giving_way = True

    async def purged(self) -> None:
        """Return when nothing of the calls that were erased before is left in the index. Needs `run`."""
        self._purging += 1
        self._urgent.set()
        try:
            await self._store.texts_purged()
        finally:
            self._purging -= 1
            if not self._purging:
                self._urgent.clear()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = RETRY_FIRST_S
        while True:
            await self._store.lead()
            try:
                self._recorded.clear()
                worked = await self.step()
                await self.look_for_late()
                pause_s = RETRY_FIRST_S
            except Exception as error:
                # Whatever it is: a vault that cannot be searched by words goes on recording.
                log = _log.warning if isinstance(error, BusError) else _log.exception
                log("calls are not indexed by their words yet", error=str(error), retry_s=pause_s)
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
            else:
                if not worked:
                    await self._pause(LOOK_S, self._recorded)
                if not self._more:
                    await self._pause(GATHER_S)

    async def step(self) -> bool:
        """Index what comes next; whether there was anything."""
        step = await self._store.unindexed(STEP_CALLS)
        self._more = step is not None and step.more
        if step is None:
            return False
        texts: list[CallText] = []
        through: Position | None = step.through
        for part in _slices(step.calls):
            read, waiting = await self._read(part)
            texts += await asyncio.to_thread(_texts, read)
            if waiting:
                through = texts[-1].position if texts else None
                break
            await self._give_way()
        if through is not None:
            await self._store.index_texts(step, through, texts)
        if through != step.through:
            await self._pause(BODY_POLL_S)
        return True

    async def _read(self, sources: Sequence[TextSource]) -> tuple[list[_Read], bool]:
        """The calls with their bodies, and whether one is to be waited for: then those before it."""
        young_us = to_us(self._clock.now()) - int(BODY_WAIT_S * 1e6)
        read: list[_Read] = []
        for source in sources:
            found = await self._read_one(source)
            if found is None:
                continue
            if found.missing and source.recorded_us > young_us:
                return read, True
            read.append(found)
        return read, False

    async def _read_one(self, source: TextSource) -> _Read | None:
        """None for what cannot be read as a call (any more): it has no words."""
        try:
            event = codec.decode_event(source.event)
            call = event.read(CallCaptured)
        except Malformed as error:
            _log.error("a call cannot be indexed", position=source.position, error=str(error))
            return None
        bodies: dict[str, bytes] = {}
        missing: list[str] = []
        for sha256 in _apart(call):
            try:
                part = await self._bodies.read(call.bucket, sha256, 0)
            except Refused as error:
                _log.warning("a body cannot be indexed", call=call.id, error=str(error))
                continue
            if part is None:
                missing.append(sha256)
            else:
                bodies[sha256] = part.data[:_READ_BYTES]
        return _Read(source, call, bodies, tuple(missing))

    async def look_for_late(self) -> None:
        """Some of the calls that were indexed without a body: whether it has arrived."""
        now = self._clock.monotonic()
        if now - self._late_looked_at < BODY_WAIT_S:
            return
        self._late_looked_at = now
        late = await self._store.late_texts(self._late_after, LATE_CALLS)
        self._late_after = late[-1].position if len(late) == LATE_CALLS else None
        arrived: list[Position] = []
        for text in late:
            if await self._bodies.missing(text.bucket, text.missing) < set(text.missing):
                arrived.append(text.position)
        if arrived:
            read = [await self._read_one(source) for source in await self._store.text_sources(arrived)]
            texts = await asyncio.to_thread(_texts, [each for each in read if each is not None])
            await self._store.replace_texts(texts)

    async def _give_way(self) -> None:
        if self._giving_way:
            self._giving_way = False
            await self._pause(GIVE_WAY_S)

    async def _pause(self, delay_s: float, *reasons: asyncio.Event) -> None:
        """Until that time is over, or one of these is set, or it is urgent."""
        async with asyncio.TaskGroup() as tasks:
            waits: list[asyncio.Task[Any]] = [tasks.create_task(self._clock.sleep(delay_s))]
            waits += [tasks.create_task(reason.wait()) for reason in (self._urgent, *reasons)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()


def _slices(calls: Sequence[TextSource]) -> Iterator[Sequence[TextSource]]:
    for start in range(0, len(calls), SLICE_CALLS):
        yield calls[start : start + SLICE_CALLS]


def _apart(call: CallCaptured) -> list[str]:
    """The hashes of the bodies that do not ride in the event."""
    bodies = [call.request.body, *([] if call.response is None else [call.response.body])]
    return [
        body.sha256
        for body in bodies
        if body.inline is None and body.sha256 is not None and body.captured_bytes > 0
    ]


def _texts(read: Sequence[_Read]) -> list[CallText]:
    return [_text(each) for each in read]


def _text(read: _Read) -> CallText:
    call = read.call
    found = words.indexed(
        call,
        _data(call.request.body, read.bodies),
        None if call.response is None else _data(call.response.body, read.bodies),
    )
    until_us = read.source.recorded_us + int(LATE_S * 1e6)
    return CallText(read.source.position, call.bucket, words.streams(found), read.missing, until_us)


def _data(body: Body, bodies: dict[str, bytes]) -> bytes | None:
    return None if body.inline is not None or body.sha256 is None else bodies.get(body.sha256)
