"""Asks within one process: who answers, and handing them requests. Used by `transport`; event loop only.

A request goes to one of those who answer its topic: in turn among the instances of one name. Nothing is
stored. An instance works on at most MAX_AT_ONCE requests; others wait their turn, and one whose asker has
given up is not worked on any more. A request that has been begun runs to its end, whether or not somebody
still waits for the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import Context

from bus.errors import DeadlinePassed, NobodyAnswers, Unavailable
from bus.topics import Matcher
from bus.transport import Answer, Frame

MAX_AT_ONCE = 256


class Question:
    __slots__ = ("frame", "reply")

    def __init__(self, frame: Frame, reply: asyncio.Future[bytes]) -> None:
        self.frame = frame
        self.reply = reply


class Answerer:
    """One instance (`bus.transport.Consumer`)."""

    def __init__(self, name: str, patterns: Iterable[str], answer: Answer, asking: Asking) -> None:
        self.name = name
        self.takes = Matcher(patterns)
        self._answer = answer
        self._asking = asking
        self._waiting: dict[Question, None] = {}
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._paused = False
        self._closed = False

    async def pause(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        self._paused = False
        self._begin()

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._asking.leave(self)
            waiting, self._waiting = self._waiting, {}
            for question in waiting:
                self._asking.place(question)
        await self._idle.wait()

    def take(self, question: Question) -> None:
        self._waiting[question] = None
        question.reply.add_done_callback(lambda _: self._waiting.pop(question, None))
        self._begin()

    def _begin(self) -> None:
        while self._waiting and self._in_hand < MAX_AT_ONCE and not self._paused and not self._closed:
            question = next(iter(self._waiting))
            del self._waiting[question]
            self._in_hand += 1
            self._idle.clear()
            self._asking.run(self, question)

    async def work(self, question: Question) -> None:
        try:
            body = await self._answer(question.frame)
            if not question.reply.done():
                question.reply.set_result(body)
        except Exception as error:  # it must not raise; if it does, its asker shall not wait for the deadline
            message = f"answering {question.frame.topics[0]} failed in {self.name}"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
            if not question.reply.done():
                question.reply.set_exception(Unavailable(f"{message}: {error!r}"))
        finally:
            if not question.reply.done():
                question.reply.set_exception(Unavailable("the bus was closed"))
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()
            self._begin()


class Asking:
    def __init__(self, tasks: asyncio.TaskGroup, context: Context) -> None:
        self._tasks = tasks
        self._context = context
        self._answerers: list[Answerer] = []
        self._turns: dict[str, int] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def request(self, frame: Frame, *, timeout_s: float) -> bytes:
        question = Question(frame, asyncio.get_running_loop().create_future())
        self.place(question)
        try:
            async with asyncio.timeout(timeout_s):
                return await question.reply
        except TimeoutError:
            raise DeadlinePassed(f"{frame.topics[0]} was not answered within {timeout_s:g} s") from None

    def answer(self, name: str, patterns: Iterable[str], answer: Answer) -> Answerer:
        answerer = Answerer(name, patterns, answer, self)
        self._answerers.append(answerer)
        return answerer

    def place(self, question: Question) -> None:
        """Give it to one who answers, or tell its asker that nobody does."""
        if question.reply.done():
            return
        topic = question.frame.topics[0]
        able = [answerer for answerer in self._answerers if answerer.takes(topic)]
        if not able:
            question.reply.set_exception(NobodyAnswers(f"nobody answers {topic}"))
            return
        name = able[0].name
        instances = [answerer for answerer in able if answerer.name == name]
        turn = self._turns[name] = self._turns.get(name, -1) + 1
        instances[turn % len(instances)].take(question)

    def run(self, answerer: Answerer, question: Question) -> None:
        # In a context of its own: what the asker has set (its trace, its cause) is not the answerer's.
        task = self._tasks.create_task(
            answerer.work(question), context=self._context.copy(), name="embedded bus: answer"
        )
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def leave(self, answerer: Answerer) -> None:
        self._answerers.remove(answerer)

    def close(self) -> None:
        """Nobody answers any more; what is still being worked on is cancelled. Whoever wants to wait for it
        closes his answerer first."""
        self._answerers.clear()
        for task in self._working:
            task.cancel()
