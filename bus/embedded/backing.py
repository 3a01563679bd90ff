"""What queues ask of the journal and of their neighbours (`queue.Host`). Made by `transport`, shared by
`broker` and `storing`; event loop only.

It knows every queue, so it knows when the last of a frame's queues has settled it. Queues are pumped in a
turn of the loop of their own, in the context that the transport was opened in: what a handler has set in its
context does not reach whatever is delivered because that handler settled something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial
from sqlite3 import Connection
from typing import Any
from weakref import WeakValueDictionary

from bus.embedded import journal
from bus.embedded.committer import PROBE_EVERY_S, Committer, Job
from bus.embedded.queue import Entry, Queue
from bus.embedded.settling import Settling
from bus.transport import Frame

FORGET_ROWS = 1000


class Backing:
    """`room` is called when a queue that pushes back has fallen under its limit."""

    def __init__(
        self, committer: Committer, settling: Settling, context: Context, room: Callable[[], None]
    ) -> None:
        self.queues: dict[int, Queue] = {}
        self.room = room
        self._committer = committer
        self._settling = settling
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._entries: WeakValueDictionary[int, Entry] = WeakValueDictionary()
        self._awake: dict[Queue, None] = {}
        self._closing = False

    def close(self) -> None:
        """Nothing is handed out any more."""
        self._closing = True

    def accept(self, entry: Entry) -> None:
        """A frame was committed: it goes to its queues."""
        self._entries[entry.id] = entry
        wanted = False
        for number in entry.routes:
            queue = self.queues.get(number)
            if queue is not None:  # an every_instance consumer may be gone by now
                wanted = True
                queue.accept(entry)
                self.wake(queue)
        if not wanted:
            self._settling.gone(entry.id)

    def load_after(
        self, number: int, after: int, limit: int, limit_bytes: int, then: Callable[[list[Entry], bool], None]
    ) -> None:
        work = partial(journal.load_after, number=number, after=after, limit=limit, limit_bytes=limit_bytes)
        self._read(work, lambda found: then([self._entry(row) for row in found[0]], found[1]))

    def load_these(self, ids: list[int], then: Callable[[list[Entry]], None]) -> None:
        work = partial(journal.load_these, ids=ids)
        self._read(work, lambda rows: then([self._entry(row) for row in rows]))

    def raise_mark(self, number: int, mark: int, then: Callable[[], None]) -> None:
        work = partial(journal.raise_mark, number=number, mark=mark)
        self._committer.submit(Job(work, kind="stubborn", done=lambda _: then()))

    def note_suspect(self, id: int, then: Callable[[Frame | None], None], failed: Callable[[], None]) -> None:
        # What was settled before must not come back if this one kills the process: else a batch that was
        # split into suspects would be split again after every crash.
        self._settling.flush()
        work = partial(journal.hand_suspect, id=id)
        self._committer.submit(Job(work, done=then, failed=lambda _: failed()))

    def suspect_settled(self, id: int) -> None:
        self._settling.suspect_gone(id)

    def suspect_back(self, id: int, returned: int) -> None:
        self._settling.suspect_back(id, returned)

    def settled(self, id: int, routes: tuple[int, ...]) -> None:
        """One of a frame's queues has settled it."""
        for number in routes:
            queue = self.queues.get(number)
            if queue is not None and not queue.has_settled(id):
                return
        self._settling.gone(id)

    def changed(self, queue: Queue) -> None:
        if queue.durable:
            self._settling.changed(queue)

    def wake(self, queue: Queue) -> None:
        if not self._awake:
            self._loop.call_soon(self._pump_awake, context=self._context)
        self._awake[queue] = None

    def drop(self, queue: Queue) -> None:
        """An every_instance queue is no more: what only it wanted is deleted."""
        del self.queues[queue.number]
        entries, rest = queue.drop()
        for entry in entries:
            self.settled(entry.id, entry.routes)
        if rest is not None:
            self._forget(queue.number, rest)

    def _forget(self, number: int, after: int) -> None:
        def forget(rows: list[tuple[int, tuple[int, ...]]]) -> None:
            for id, routes in rows:
                self.settled(id, routes)
            if len(rows) == FORGET_ROWS:
                self._forget(number, rows[-1][0])

        self._read(partial(journal.routes_after, number=number, after=after, limit=FORGET_ROWS), forget)

    def _pump_awake(self) -> None:
        awake, self._awake = self._awake, {}
        if not self._closing:
            for queue in awake:
                queue.pump()

    def _entry(self, row: journal.Row) -> Entry:
        entry = self._entries.get(row.id)
        if entry is None:
            entry = self._entries[row.id] = Entry(row.id, row.frame, row.routes, row.offered)
        return entry

    def _read(self, work: Callable[[Connection], Any], then: Callable[[Any], None]) -> None:
        def failed(error: Exception) -> None:
            if not self._closing:
                message = "reading the embedded bus's journal failed; it is tried again"
                self._loop.call_exception_handler({"message": message, "exception": error})
                self._loop.call_later(PROBE_EVERY_S, self._read, work, then, context=self._context)

        self._committer.submit(Job(work, kind="read", done=then, failed=failed))
