"""Signals within one process. Used by `transport`; event loop only.

Whoever listens at the moment hears a signal before `send` returns. Nothing is stored: a listener that is
paused misses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context

from bus.topics import Matcher
from bus.transport import Frame


class Listener:
    """`bus.transport.Consumer` of signals."""

    def __init__(self, patterns: Iterable[str], hear: Callable[[Frame], None], signals: Signals) -> None:
        self.takes = Matcher(patterns)
        self.hear = hear
        self.paused = False
        self._signals = signals

    async def pause(self) -> None:
        self.paused = True

    async def resume(self) -> None:
        self.paused = False

    async def close(self) -> None:
        self._signals.leave(self)


class Signals:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._listeners: list[Listener] = []

    def listen(self, patterns: Iterable[str], hear: Callable[[Frame], None]) -> Listener:
        listener = Listener(patterns, hear, self)
        self._listeners.append(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def send(self, frame: Frame) -> None:
        for listener in tuple(self._listeners):
            if listener.paused or not any(listener.takes(topic) for topic in frame.topics):
                continue
            try:
                self._context.copy().run(listener.hear, frame)
            except Exception as error:  # one that cannot hear must not silence the others
                message = f"a listener failed to hear {frame.topics[0]}"
                asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    def close(self) -> None:
        self._listeners.clear()
