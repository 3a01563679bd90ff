"""Frames that are not due yet. Used by `transport`; event loop only.

They wait in the journal, ordered by their due time, and one sleeper waits for the earliest: 10 hours and 90
seconds do not know of each other, and thousands cost no memory. A frame that is due is routed and moved into
its queues in one transaction, so it arrives once, never before its time by the clock that was passed in;
after a restart what is overdue goes at once. One that no queue takes when it is due is kept, and tried again
every UNROUTED_AGAIN_S.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bus.clock import Clock
from bus.embedded import journal
from bus.embedded.broker import Broker
from bus.embedded.committer import PROBE_EVERY_S, Committer, Job
from bus.embedded.format import micros, payload
from bus.embedded.journal import Delayed
from bus.embedded.storing import Storing, is_kept
from bus.errors import Unavailable
from bus.transport import Frame

RELEASE_FRAMES = 128
UNROUTED_AGAIN_S = 60
MAX_NAP_S = 60.0  # the wall clock may be set, or the machine may sleep, while somebody waits for it


class Delays:
    def __init__(
        self,
        committer: Committer,
        broker: Broker,
        storing: Storing,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        next_due_us: int | None,
    ) -> None:
        self._committer = committer
        self._broker = broker
        self._storing = storing
        self._clock = clock
        self._tasks = tasks
        self._next_due_us = next_due_us
        self._sleeper: asyncio.Task[None] | None = None
        self._releasing = False
        self._closing = False

    def start(self) -> None:
        self._arm()

    def close(self) -> None:
        self._closing = True
        if self._sleeper is not None:
            self._sleeper.cancel()

    @property
    def releasing(self) -> bool:
        """Whether frames that are due are on their way to their queues."""
        return self._releasing

    async def add(self, frame: Frame, due: datetime, *, exchange: str, number: int | None) -> None:
        """Keep a frame until it is due. `number` is the queue it is for; None: whatever takes it then."""
        due_us = micros(due)
        work = partial(
            journal.insert_delayed,
            id=self._storing.next_id(),
            due_us=due_us,
            exchange=exchange,
            number=number,
            suspect=frame.suspect,
            payload=payload(frame),
        )
        await self._committer.run(work, size_bytes=len(frame.body))
        self._note(due_us)

    def _note(self, due_us: int) -> None:
        if self._next_due_us is None or due_us < self._next_due_us:
            self._next_due_us = due_us
            self._arm()

    def _arm(self) -> None:
        if self._sleeper is not None:
            self._sleeper.cancel()
            self._sleeper = None
        if self._next_due_us is not None and not self._releasing and not self._closing:
            self._sleeper = self._tasks.create_task(
                self._sleep(self._next_due_us), name="embedded bus: delays"
            )

    async def _sleep(self, due_us: int) -> None:
        while (wait_s := (due_us - micros(self._clock.now())) / 1_000_000) > 0:
            await self._clock.sleep(min(wait_s, MAX_NAP_S))
        self._sleeper = None
        self._next_due_us = None
        self._releasing = True
        self._look()

    def _look(self) -> None:
        work = partial(journal.due_by, now_us=micros(self._clock.now()), limit=RELEASE_FRAMES)
        self._committer.submit(Job(work, kind="read", done=self._found, failed=self._try_again))

    def _found(self, found: tuple[list[Delayed], int | None]) -> None:
        due, next_due_us = found
        if due:
            for at, delayed in enumerate(due, start=1):
                self._move(delayed, last=at == len(due))
            return
        self._releasing = False
        self._next_due_us = next_due_us
        self._arm()

    def _move(self, delayed: Delayed, *, last: bool) -> None:
        frame = delayed.frame

        def moved(_: Any) -> None:
            if last and not self._closing:
                self._look()

        def failed(error: Unavailable) -> None:
            if last:
                self._try_again(error)

        drop = partial(journal.delete_delayed, id=delayed.id)
        if delayed.subscription is not None:
            queue = self._broker.numbered(delayed.subscription)
            if frame.suspect:
                job = self._storing.suspect(frame, queue, moved, failed, also=drop)
            else:
                job = self._storing.frame(frame, (queue,), moved, failed, also=drop)
        else:
            queues = self._broker.route(delayed.exchange, frame.topics)
            kept = is_kept(frame)
            if queues or kept:
                job = self._storing.frame(frame, queues, moved, failed, kept=kept, also=drop)
            else:
                again = self._clock.now() + timedelta(seconds=UNROUTED_AGAIN_S)
                job = Job(
                    partial(journal.postpone, id=delayed.id, due_us=micros(again)), done=moved, failed=failed
                )
        self._committer.submit(job)

    def _try_again(self, _: Unavailable) -> None:
        if not self._closing:
            asyncio.get_running_loop().call_later(PROBE_EVERY_S, self._look)
