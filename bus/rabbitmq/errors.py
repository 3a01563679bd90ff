"""The driver's errors in the bus's words. Used by every module that speaks to the broker; nothing of the
driver leaks out.

aiormq rejects whatever waits on a lost connection, also with a CancelledError although nobody cancelled the
waiting task. That one is told apart here: a task that was really cancelled goes on being cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika.exceptions import AMQPError, ChannelPreconditionFailed, DeliveryError, PublishError

from bus.errors import Backpressure, BusError, NotRouted, Unavailable

# RuntimeError: a channel asked of a closed connection. OSError: the network, TLS included.
_LOST = (AMQPError, OSError, RuntimeError, TimeoutError, asyncio.InvalidStateError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Whatever the driver raises inside becomes a BusError that begins with `what`."""
    try:
        yield
    except BusError:
        raise
    except asyncio.CancelledError as error:
        if really_cancelled():
            raise
        raise translate(what, error) from None
    except Exception as error:
        if not is_lost(error):
            raise
        raise translate(what, error) from error


def is_lost(error: Exception) -> bool:
    """Whether an exception is the driver's way to say that something went wrong on the connection, and no
    mistake of ours. What is asked of a connection that is closed already gets a bare `Exception`."""
    return isinstance(error, _LOST) or type(error) is Exception


def really_cancelled() -> bool:
    """Whether the CancelledError in hand was meant for this task."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def translate(what: str, error: BaseException) -> BusError:
    """What to raise for a driver's error."""
    match error:
        case PublishError():
            topic = None if error.message is None else error.message.routing_key
            return NotRouted(f"{what}: no queue is bound to {topic!r}")
        case DeliveryError():
            return Backpressure(f"{what}: a queue is full, or cannot store anything at the moment")
        case TimeoutError():
            return Unavailable(f"{what}: no answer in time")
        case asyncio.CancelledError():
            return Unavailable(f"{what}: the connection was lost")
        case _:
            return Unavailable(f"{what}: {reason(error)}")


def reason(error: BaseException) -> str:
    """One line that says what the broker or the network said."""
    text = " ".join(str(argument) for argument in error.args if argument is not None) or type(error).__name__
    return text.replace("\n", " ")[:500]


def precondition(error: BaseException) -> str | None:
    """What the broker said about a declaration that contradicts what exists; None for any other error."""
    return reason(error) if isinstance(error, ChannelPreconditionFailed) else None
