"""The bus's errors, classed by what happens next. Everything in `bus` raises these; nothing of a driver leaks
through.

    BusError
    ├── Reject            a handler: this event can never be handled -> parked at once, with the reason
    ├── Retry             a handler: not now, try this event again later -> retried, then parked
    ├── Unavailable       a dependency is down -> the subscription pauses; no attempt is counted; nothing is
                          parked
    │   ├── Backpressure  the bus is full or blocked -> wait, then publish again
    │   └── SpoolFull     the bus is away and so much waits on disk that no more is kept
    ├── NotRouted         publish: no queue took the event -> nothing was published
    ├── Malformed         bytes, a topic or a pattern that are not what they claim -> fix the sender; frames
                          are parked
    │   ├── TopicInvalid
    │   └── UnknownType
    ├── HandlerTimeout    a handler was stopped at its deadline -> retried, then parked
    ├── TooLarge          the event cannot travel -> send its bulk as a body
    ├── AskFailed         an ask got no answer it can use
    │   ├── NobodyAnswers     no process serves this ask
    │   ├── DeadlinePassed    it was not answered in time; whether it was carried out is unknown
    │   └── Refused           the answering side said no, and why
    └── CannotOpen        the bus could not be opened
        ├── InUse             another process has the embedded journal
        ├── JournalDamaged    the journal cannot be read
        ├── JournalVersion    the journal was written by another version
        └── TopologyDiffers   a queue or exchange exists with other arguments

Any other exception from a handler is taken as the event's own error: retried with growing delays, then
parked. Each class carries a `slug` (stable, explained in `docs/errors.md`), a `remedy` and the `exit_code` of
a command that ends with it.
"""

from __future__ import annotations

import traceback
from typing import ClassVar


class BusError(Exception):
    """The root of the tree. `str(error)` names what is wrong; `remedy` says what to do."""

    slug: ClassVar[str] = "bus-error"
    meaning: ClassVar[str] = "The bus failed in a way that has no name of its own."
    remedy: ClassVar[str] = "Read the message; if it does not help, report it with the log."
    exit_code: ClassVar[int] = 70


class Reject(BusError):
    slug = "event-rejected"
    meaning = "A handler said that an event can never be handled; the event is parked with the reason."
    remedy = "Look at it with `bus.parked()`, then redrive or discard it."


class Retry(BusError):
    """Raised by a handler to have its event delivered again, after `after_s` seconds if given, else after the
    next delay of the subscription's schedule. Counts as an attempt."""

    slug = "event-retried"
    meaning = "A handler asked for an event to be delivered again later."
    remedy = "Nothing: it is retried by itself and parked when its attempts are used up."

    def __init__(
        self, reason: str = "the handler asked for a retry", *, after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Unavailable(BusError):
    """A dependency (database, disk, broker) is down. Raised by handlers and by the bus itself."""

    slug = "unavailable"
    meaning = "Something that is needed (the broker, a database, the disk) does not answer at the moment."
    remedy = "Start what the message names, then try again; work that the bus has taken is kept."
    exit_code = 75


class Backpressure(Unavailable):
    slug = "bus-full"
    meaning = (
        "The bus takes nothing more at the moment: the vault's queue is full or the broker blocks publishers."
    )
    remedy = "Wait, or add consumers or disk; publish again with the same event id."


class SpoolFull(Unavailable):
    slug = "spool-full"
    meaning = "The bus is away and the spool on disk has reached its limit; what came after it was not kept."
    remedy = "Bring the bus back, or give the spool more room."


class NotRouted(BusError):
    slug = "not-routed"
    meaning = (
        "No queue is bound to the event's topic, so nobody would ever receive it; nothing was published."
    )
    remedy = "Declare the subscription before publishing, or check the event's type and key."
    exit_code = 65


class Malformed(BusError):
    slug = "malformed"
    meaning = "Bytes that came over the bus, or a value given to it, are not in the form they claim."
    remedy = "Fix the sender; what arrived is parked, not lost."
    exit_code = 65


class TopicInvalid(Malformed, ValueError):
    slug = "topic-invalid"
    meaning = "A type, key, topic or pattern breaks the rules for topics."
    remedy = (
        "Use dotted words of letters, digits, `_` and `-`, at most 255 bytes; `*` and `#` only in patterns."
    )


class UnknownType(Malformed):
    slug = "unknown-type"
    meaning = "No handler and no schema knows the type or version of this event."
    remedy = "Deploy the service version that knows it, then redrive."


class TooLarge(BusError):
    slug = "event-too-large"
    meaning = "An event is larger than what may travel in one piece."
    remedy = "Keep its bulk elsewhere (a file, an object store) and name it by its hash."
    exit_code = 65


class HandlerTimeout(BusError):
    slug = "handler-timeout"
    meaning = "A handler was stopped at its deadline; the event is retried, then parked."
    remedy = "Find what it waits for, or give the router a longer deadline."


class AskFailed(BusError):
    slug = "ask-failed"
    meaning = "A question or command over the bus got no usable answer."
    remedy = "Retry it: commands can be repeated."
    exit_code = 75


class NobodyAnswers(AskFailed):
    slug = "nobody-answers"
    meaning = "No running process serves this ask."
    remedy = "Start the service that answers it."


class DeadlinePassed(AskFailed):
    slug = "deadline-passed"
    meaning = "The answer did not come in time; a command may or may not have been carried out."
    remedy = "Repeat it with the same id: commands are idempotent."


class Refused(AskFailed):
    """The answering handler raised. `reason` is a slug a caller may branch on; `detail` is for people."""

    slug = "ask-refused"
    meaning = "The service understood the ask and said no."
    remedy = "Read the detail; the same ask will be refused again."
    exit_code = 65

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class CannotOpen(BusError):
    slug = "bus-cannot-open"
    meaning = "The bus could not be opened."
    remedy = "Check the bus URL (`TRUNKLINE_BUS_URL`)."
    exit_code = 78


class InUse(CannotOpen):
    slug = "journal-in-use"
    meaning = "Another process has this embedded bus open."
    remedy = (
        "Stop the other process, or give this one another data folder (TRUNKLINE_DATA_DIR) or a RabbitMQ bus."
    )


class JournalDamaged(CannotOpen):
    slug = "journal-damaged"
    meaning = "The embedded bus's journal cannot be read; it was left as it is."
    remedy = "Restore it from a backup, or move it aside to start with an empty one; keep the damaged file."


class JournalVersion(CannotOpen):
    slug = "journal-version"
    meaning = "The embedded bus's journal was written by another version of its format; it was left as it is."
    remedy = "Use the version of Trunkline that wrote it, or move the file aside."


class TopologyDiffers(CannotOpen):
    slug = "topology-differs"
    meaning = "A queue or exchange exists on the broker with other arguments than this version declares."
    remedy = "Drain and delete the queue that is named, or upgrade the other processes; nothing was changed."


def trace_of(error: BaseException) -> str:
    """Where an exception came from, for a log: its last calls, without their variables, which may hold
    secrets and which a logger's pretty traceback takes tens of milliseconds to draw."""
    return "".join(traceback.format_exception(error, limit=-6))
