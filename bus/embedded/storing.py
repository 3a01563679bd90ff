"""The writes that put frames into the journal and, once they are committed, into their queues. Made by
`transport`, used by `broker` and `delays`; event loop only.

Ids are given out when a job is made and say the order of frames, so a job is submitted at once and never a
second time: were it committed after a younger one, its frame would lie behind cursors that have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from sqlite3 import Connection
from typing import Any

from bus.clock import Clock
from bus.embedded import journal
from bus.embedded.backing import Backing
from bus.embedded.committer import Job
from bus.embedded.format import micros, payload
from bus.embedded.queue import Entry, Queue
from bus.errors import Unavailable
from bus.transport import KEPT_DAYS, KEPT_PREFIX, Frame

Work = Callable[[Connection], None]
Done = Callable[[Any], None]
Failed = Callable[[Unavailable], None]


class Storing:
    def __init__(self, backing: Backing, clock: Clock, *, last_id: int) -> None:
        self._backing = backing
        self._clock = clock
        self.last_id = last_id

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def frame(
        self,
        frame: Frame,
        queues: Sequence[Queue],
        done: Done,
        failed: Failed,
        *,
        kept: bool = False,
        also: Work | None = None,
    ) -> Job:
        """Store a frame for these queues, and among the kept ones if `kept`. `also` is done in the same
        transaction."""
        id = self.next_id()
        values = payload(frame)
        routes = tuple(queue.number for queue in queues)
        offered = tuple(queue.number for queue in queues if queue.offers())
        entry = Entry(id, frame, routes, offered)

        def committed(result: Any) -> None:
            if routes:
                self._backing.accept(entry)
            done(result)

        works = [] if also is None else [also]
        if kept:
            works.append(self._keeping(id, values))
        row = (id, journal.routes_text(routes), journal.routes_text(offered), *values) if routes else None
        work = journal.together(works) if works else None
        return Job(work, row=row, done=committed, failed=failed, size_bytes=entry.size_bytes)

    def suspect(
        self, frame: Frame, queue: Queue, done: Done, failed: Failed, *, also: Work | None = None
    ) -> Job:
        """Store a frame among a queue's suspects."""
        id = self.next_id()

        def committed(result: Any) -> None:
            queue.accept_suspect(id)
            self._backing.wake(queue)
            done(result)

        works: list[Work] = [
            partial(journal.insert_suspect, id=id, number=queue.number, payload=payload(frame))
        ]
        if also is not None:
            works.append(also)
        return Job(journal.together(works), done=committed, failed=failed, size_bytes=len(frame.body))

    def _keeping(self, id: int, values: tuple[Any, ...]) -> Work:
        now = self._clock.now()
        oldest_us = micros(now - timedelta(days=KEPT_DAYS))
        return partial(journal.keep, id=id, now_us=micros(now), oldest_us=oldest_us, payload=values)


def is_kept(frame: Frame) -> bool:
    return any(topic.startswith(KEPT_PREFIX + ".") for topic in frame.topics)
