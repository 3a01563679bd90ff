"""What schemas build on: facts, asks, signals, and the subscriptions that services hold. Imports nothing of
the bus.

    class OrderPlaced(Fact):
        TYPE = "shop.order.placed"
        id: str
        total_cents: int

Messages are frozen msgspec structs: plain typed data, validated when they are decoded. A subclass sets
`TYPE`, dotted words in the field's order "<area>.<thing>.<what happened>", and `VERSION` when its fields
change in a way that old readers would not understand; `upcast` then says what old data are today.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

import msgspec

Reply = TypeVar("Reply", covariant=True)  # an Ask[Stock] will do where an Ask[object] is asked

Mode = Literal["shared", "every_instance", "ordered"]
Exchange = Literal["events", "ingress", "asks", "signals", "bodies"]


class Message(msgspec.Struct, frozen=True):
    """Anything that has a type and travels. Use `Fact`, `Ask` or `Signal`."""

    TYPE: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Plain data of `version` as those of `version + 1`. A type whose VERSION has grown overrides it;
        it is called once for each step. The event itself stays as it is. Pure."""
        return data


class Fact(Message, frozen=True):
    """What is told as an event: it happened, and it is kept.

    `ORDERED` says that subscribers rely on the order of one topic's events; the publisher then keeps one
    batch of this type unconfirmed at a time. `EXCHANGE` is `events` for all but body chunks and what foreign
    producers hand in. A type that ends in `.requested` is work: it travels one event a message, so that
    instances can share it out.
    """

    ORDERED: ClassVar[bool] = False
    EXCHANGE: ClassVar[Exchange] = "events"


class Signal(Message, frozen=True):
    """Worth telling, not worth remembering: heard by every process that listens at the moment, never
    stored."""


class Ask(Message, Generic[Reply], frozen=True):
    """A question or command with one reply of type `Reply` and a deadline. Not logged, not retried, not
    parked."""

    @classmethod
    def reply_type(cls) -> type:
        """The `Reply` of `class Mine(Ask[Reply])`; raises TypeError if the subclass did not name one."""
        for parent in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(parent)
            if arguments and not isinstance(arguments[0], TypeVar):
                reply: type = arguments[0]
                return reply
        raise TypeError(f"{cls.__name__} names no reply: write class {cls.__name__}(Ask[ReplyType])")


class Subscription(msgspec.Struct, frozen=True):
    """A named interest in topics; its queue is declared by every process before its first publish.

    name: unique in the installation, `<service>` or `<service>.<what>`; also the queue's name.
    patterns: topic patterns (`*` one word, `#` zero or more).
    mode: `shared` instances divide the work; `ordered` one active instance, in order; `every_instance` each
        process has its own queue, which dies with it.
    max_bytes: the queue's limit; only meaningful with `pushes_back`, which makes publishers wait when it is
        reached. One subscription in an installation (the vault's) may push back.
    """

    name: str
    patterns: tuple[str, ...]
    mode: Mode = "shared"
    exchange: Exchange = "events"
    max_bytes: int | None = None
    pushes_back: bool = False
