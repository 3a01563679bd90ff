"""What a service says it handles: facts, raw events, batches, signals and asks, each with its handler.

    billing = Router("billing")

    @billing.on(OrderPlaced)
    async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None: ...

A router is one subscription. Its patterns follow from its handlers, unless it was made from a `Subscription`
of the contract, which then decides. Nothing runs until `bus.serve(router)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from bus import topics
from bus.event import Event
from bus.message import Ask, Exchange, Fact, Message, Mode, Signal, Subscription
from bus.middleware.dedupe import Inbox

if TYPE_CHECKING:
    from bus.connect import Bus

M = TypeVar("M", bound=Message)
R = TypeVar("R")

RETRY_DELAYS_S = (1.0, 5.0, 30.0, 120.0, 600.0)

MessageHandler = Callable[[M, "Delivery"], Awaitable[None]]
EventHandler = Callable[[Event, "Delivery"], Awaitable[None]]
BatchHandler = Callable[[list[Event]], Awaitable[None]]
AskHandler = Callable[[Any, "Delivery"], Awaitable[Any]]


class Delivery:
    """One event in a handler's hands.

    attempt: 0 the first time. subscription: which one delivers it. `publish` names this event as the cause
    and carries its key on.
    """

    __slots__ = ("attempt", "bus", "event", "subscription")

    def __init__(self, event: Event, attempt: int, subscription: str, bus: Bus) -> None:
        self.event = event
        self.attempt = attempt
        self.subscription = subscription
        self.bus = bus

    async def publish(
        self,
        *facts: Fact,
        key: str | None = None,
        subject: str | None = None,
        id: str | None = None,
        at: datetime | None = None,
    ) -> None:
        await self.bus.publish(
            *facts, key=self.event.key if key is None else key, subject=subject, id=id, at=at
        )


class Batches(NamedTuple):
    """How a subscription is handled in lists: see `Router.on_batch`."""

    handler: BatchHandler
    max_events: int
    beside: int


class Route:
    """A pattern and what handles its events; `message` is None for handlers of raw events."""

    __slots__ = ("handler", "matcher", "message", "pattern")

    def __init__(
        self, pattern: str, message: type[Message] | None, handler: Callable[..., Awaitable[Any]]
    ) -> None:
        self.pattern = pattern
        self.matcher = topics.Matcher((pattern,))
        self.message = message
        self.handler = handler


class Router:
    """name: the subscription's and the answering queue's. concurrency: frames handled at once by one
    instance; the events of one frame are handled one after another. deadline_s: for one handler call.
    retry_delays_s: +-20 % each; when they are used up the event is parked. inbox: where handled identities
    are remembered; None for this process's memory."""

    def __init__(
        self,
        name: str | Subscription,
        *,
        mode: Mode = "shared",
        concurrency: int = 8,
        deadline_s: float = 30.0,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        inbox: Inbox | None = None,
    ) -> None:
        self._declared = name if isinstance(name, Subscription) else None
        self.name = name.name if isinstance(name, Subscription) else name
        self.mode: Mode = name.mode if isinstance(name, Subscription) else mode
        self.concurrency = 1 if self.mode == "ordered" else concurrency
        self.deadline_s = deadline_s
        self.retry_delays_s = tuple(retry_delays_s)
        self.inbox = inbox
        self.routes: list[Route] = []
        self.signals: list[Route] = []
        self.asks: list[Route] = []
        self.batch: Batches | None = None

    @overload
    def on(self, message: type[M], *, key: str = "*") -> Callable[[MessageHandler[M]], MessageHandler[M]]: ...

    @overload
    def on(self, message: type[M], handler: MessageHandler[M], *, key: str = "*") -> MessageHandler[M]: ...

    def on(self, message: type[Any], handler: MessageHandler[Any] | None = None, *, key: str = "*") -> Any:
        """Handle facts or signals of a type. As a decorator, or with the handler given."""
        routes = self.signals if issubclass(message, Signal) else self.routes
        return self._add(routes, f"{_type_of(message)}.{key}", message, handler)

    def on_event(self, pattern: str, handler: EventHandler) -> EventHandler:
        """Handle every event whose topic matches, undecoded."""
        self._add(self.routes, pattern, None, handler)
        return handler

    def on_batch(self, handler: BatchHandler, *, max_events: int = 1000, beside: int = 1) -> BatchHandler:
        """Handle the whole subscription in lists of up to about `max_events` events, merged over what has
        arrived. All of a list are settled when the handler returns; when it raises the events' own error,
        each is tried in a list of its own. beside: how many lists may be in the handler's hands beside each
        other, which keeps one busy that waits for a disk."""
        self.batch = Batches(handler, max_events, beside)
        return handler

    @overload
    def answers(self, ask: type[Ask[R]], *, key: str = "*") -> Callable[[AskHandler], AskHandler]: ...

    @overload
    def answers(self, ask: type[Ask[R]], handler: AskHandler, *, key: str = "*") -> AskHandler: ...

    def answers(self, ask: type[Ask[Any]], handler: AskHandler | None = None, *, key: str = "*") -> Any:
        """Answer asks of a type; the handler returns the reply or raises Refused."""
        return self._add(self.asks, f"{_type_of(ask)}.{key}", ask, handler)

    def subscription(self) -> Subscription | None:
        """What this router consumes; None when it only hears signals or answers asks."""
        if self._declared is not None:
            return self._declared if self.routes or self.batch else None
        if self.batch is not None and not self.routes:
            raise ValueError(
                f"router {self.name!r} takes batches but has no patterns: make it from a Subscription"
            )
        if not self.routes:
            return None
        patterns = tuple(dict.fromkeys(route.pattern for route in self.routes))
        exchanges: set[Exchange] = {getattr(route.message, "EXCHANGE", "events") for route in self.routes}
        if len(exchanges) > 1:
            raise ValueError(
                f"router {self.name!r} spans the exchanges {sorted(exchanges)}: use one router for each"
            )
        return Subscription(self.name, patterns, self.mode, exchanges.pop())

    def _add(
        self,
        routes: list[Route],
        pattern: str,
        message: type[Message] | None,
        handler: Callable[..., Awaitable[Any]] | None,
    ) -> Any:
        if handler is not None:
            routes.append(Route(pattern, message, handler))
            return handler

        def register(decorated: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            routes.append(Route(pattern, message, decorated))
            return decorated

        return register


def _type_of(message: type[Message]) -> str:
    topics.check_type(message.TYPE)
    return message.TYPE
