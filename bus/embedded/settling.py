"""What consumers settled, on its way to the journal. Used by `broker`; event loop only.

A flush moves the cursors of the queues that changed, writes their exceptions, and deletes the frames that
nobody needs any more, in one transaction. It happens at most FLUSH_EVERY_S after the first change, before a
suspect is handed out, and at the end. What was settled and not flushed when the process dies is delivered
again.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from functools import partial

from bus.embedded import journal
from bus.embedded.committer import Committer, Job
from bus.embedded.queue import Queue
from bus.errors import Unavailable

FLUSH_EVERY_S = 0.05


class Settling:
    def __init__(self, committer: Committer, context: Context) -> None:
        self._committer = committer
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._changed: dict[Queue, None] = {}
        self._gone: list[int] = []
        self._suspects_gone: dict[int, None] = {}
        self._suspects_back: dict[int, int] = {}
        self._under_way = 0
        self._giving_space = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def changed(self, queue: Queue) -> None:
        """Its cursor or its exceptions."""
        self._changed[queue] = None
        self._flush_soon()

    def gone(self, id: int) -> None:
        """Nobody needs this frame any more."""
        self._gone.append(id)
        self._flush_soon()

    def suspect_gone(self, id: int) -> None:
        self._suspects_gone[id] = None
        self._suspects_back.pop(id, None)
        self._flush_soon()

    def suspect_back(self, id: int, returned: int) -> None:
        self._suspects_back[id] = returned
        self._flush_soon()

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changes = self._take()
        if changes is not None:
            self._under_way += 1
            self._committer.submit(
                Job(partial(journal.apply, changes=changes), kind="stubborn", done=self._flushed)
            )

    async def close(self) -> None:
        """Flush what is left, and note that the journal was closed properly. What cannot be written comes
        back after the next opening."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with contextlib.suppress(Unavailable):
            await self._committer.run(partial(journal.close_clean, changes=self._take() or journal.Changes()))

    def _flush_soon(self) -> None:
        if self._timer is None and not self._under_way and not self._closing:
            self._timer = self._loop.call_later(FLUSH_EVERY_S, self.flush, context=self._context)

    def _flushed(self, much_unused: bool) -> None:
        self._under_way -= 1
        if much_unused and not self._giving_space:
            self._giving_space = True
            self._give_space()
        if self._anything():
            self._flush_soon()

    def _give_space(self) -> None:
        def gave(more: bool) -> None:
            self._giving_space = more and not self._closing
            if self._giving_space:
                self._loop.call_later(FLUSH_EVERY_S, self._give_space, context=self._context)

        job = Job(journal.give_space, kind="read", done=gave, failed=lambda _: gave(False))
        self._committer.submit(job)

    def _anything(self) -> bool:
        return bool(self._changed or self._gone or self._suspects_gone or self._suspects_back)

    def _take(self) -> journal.Changes | None:
        if not self._anything():
            return None
        changes = journal.Changes(gone=self._gone)
        for queue in self._changed:
            held, stored = queue.held, queue.stored_held
            changes.cursors.append((queue.read_to, queue.read_to, queue.number))
            changes.held += [(queue.number, id, back) for id, back in held.items() if stored.get(id) != back]
            changes.settled += [(queue.number, id) for id in stored if id not in held]
            queue.stored_held = dict(held)
        changes.suspects_gone += [(id,) for id in self._suspects_gone]
        changes.suspects_back += [(returned, id) for id, returned in self._suspects_back.items()]
        self._changed, self._gone, self._suspects_gone, self._suspects_back = {}, [], {}, {}
        return changes
