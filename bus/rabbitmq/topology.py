"""What Trunkline keeps on a broker: exchanges, queues and bindings, as data. Pure; `declaring` makes them.

    events, ingress, asks, signals, bodies          topic exchanges
        └── <subscription>                          quorum queue of a shared or ordered subscription
            <subscription>.suspects                 quorum queue of frames that may kill their worker
        └── <subscription>@<random>                 exclusive classic queue of an every_instance consumer
        └── asks.<name>                             auto-delete classic queue of those who answer
        └── bus.kept                                stream of what is published under `bus.event.`

    retry ──"<seconds>.#"──> retry.1s ... retry.65536s         tiers: quorum queues whose messages expire
    retry.back ──"*.<queue>"──> <queue>                        where expired messages go on from
        └─ alternate exchange retry.lost ──> retry.lost        what has no queue any more: kept, and told

A delayed frame is published to `retry` with the key `<tier>.<queue>`. When its tier's time is over the broker
puts it, at least once, on `retry.back` under the same key, which leads to the queue; whoever consumes that
queue sends it through the next tier while its due time is not reached. A delayed `publish` does so on the
queue `retry.due`, which every process consumes.

Every choice here is one that lost nothing under broker kills; above all: at-least-once dead-lettering counts
only together with reject-publish, no subscription queue dead-letters, and a delivery limit that is not set,
or low, loses healthy frames when connections drop. Nothing is used that RabbitMQ 4 deprecates. The same names
with a prefix are another installation.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aio_pika import ExchangeType

from bus.errors import TopicInvalid
from bus.message import Exchange, Subscription
from bus.topics import check_pattern
from bus.transport import KEPT_DAYS, KEPT_PREFIX

EXCHANGES: tuple[Exchange, ...] = ("events", "ingress", "asks", "signals", "bodies")
TIERS = 17  # 1, 2, 4 ... 65 536 s
DELIVERY_LIMIT = 1_000_000
PUSHES_BACK_AT_BYTES = 1024 * 1024 * 1024
KEPT_BYTES = 1024 * 1024 * 1024
PRIVATE_QUEUE_BYTES = 256 * 1024 * 1024
ASKS_EXPIRE_MS = 60_000
SUSPECTS = ".suspects"
MAX_NAME_BYTES = 200  # the queue's name also travels inside routing keys of at most 255 bytes

Arguments = dict[str, Any]


class ExchangeSpec(msgspec.Struct, frozen=True):
    """A durable exchange."""

    name: str
    kind: str = ExchangeType.TOPIC.value
    arguments: Arguments = {}


class QueueSpec(msgspec.Struct, frozen=True):
    """A queue. `exclusive` ones are transient and die with their connection; all others are durable."""

    name: str
    arguments: Arguments = {}
    exclusive: bool = False
    auto_delete: bool = False


class Binding(msgspec.Struct, frozen=True):
    queue: str
    exchange: str
    pattern: str


class Plan(msgspec.Struct, frozen=True):
    """What to declare, in this order."""

    exchanges: tuple[ExchangeSpec, ...] = ()
    queues: tuple[QueueSpec, ...] = ()
    bindings: tuple[Binding, ...] = ()


class Topology:
    """The names and arguments of one installation.

    namespace: put before every name, so that installations (or tests) can share a virtual host; usually
    empty. tier_unit_ms: how long the first tier holds a frame; 1 000 but in tests. tiers: how many, each
    twice as long as the one before.
    """

    def __init__(self, namespace: str = "", tier_unit_ms: int = 1000, tiers: int = TIERS) -> None:
        if tier_unit_ms < 1:
            raise ValueError(f"tier_unit_ms is {tier_unit_ms}; it is at least 1")
        self.namespace = namespace
        self.tier_unit_ms = tier_unit_ms
        self.tiers = tiers
        self.retry = namespace + "retry"
        self.retry_back = namespace + "retry.back"
        self.retry_lost = namespace + "retry.lost"
        self.retry_due = namespace + "retry.due"
        self.kept = namespace + "bus.kept"

    def exchange(self, exchange: Exchange) -> str:
        return self.namespace + exchange

    def queue(self, subscription: str) -> str:
        return self.namespace + subscription

    def suspects(self, subscription: str) -> str:
        return self.namespace + subscription + SUSPECTS

    def asks_queue(self, name: str) -> str:
        return f"{self.namespace}asks.{name}"

    def base(self) -> Plan:
        """What exists once in an installation."""
        exchanges = [ExchangeSpec(self.exchange(name)) for name in EXCHANGES]
        exchanges += [
            ExchangeSpec(self.retry_lost, "fanout"),
            ExchangeSpec(self.retry_back, arguments={"alternate-exchange": self.retry_lost}),
            ExchangeSpec(self.retry),
        ]
        queues = [
            QueueSpec(self.retry_lost, _quorum()),
            QueueSpec(self.retry_due, _quorum()),
            QueueSpec(
                self.kept,
                {"x-queue-type": "stream", "x-max-age": f"{KEPT_DAYS}D", "x-max-length-bytes": KEPT_BYTES},
            ),
        ]
        bindings = [
            Binding(self.retry_lost, self.retry_lost, ""),
            Binding(self.retry_due, self.retry_back, f"*.{self.retry_due}"),
            Binding(self.kept, self.exchange("events"), f"{KEPT_PREFIX}.#"),
        ]
        for tier in range(self.tiers):
            queues.append(self._tier(tier))
            bindings.append(Binding(self._tier_name(tier), self.retry, f"{self._tier_word(tier)}.#"))
        return Plan(tuple(exchanges), tuple(queues), tuple(bindings))

    def subscription(self, subscription: Subscription) -> Plan:
        """The durable queues of a shared or ordered subscription. Raises TopicInvalid for a name or pattern
        that is none.

        A pattern that an earlier version bound and this one does not stays bound: the subscriber drops what
        it does not match.
        """
        check_name(subscription.name)
        for pattern in subscription.patterns:
            check_pattern(pattern)
        queue, suspects = self.queue(subscription.name), self.suspects(subscription.name)
        single = {"x-single-active-consumer": True} if subscription.mode == "ordered" else {}
        limit: Arguments = {}
        if subscription.pushes_back:
            limit = {
                "x-max-length-bytes": subscription.max_bytes or PUSHES_BACK_AT_BYTES,
                "x-overflow": "reject-publish",
            }
        return Plan(
            queues=(QueueSpec(queue, _quorum(**single, **limit)), QueueSpec(suspects, _quorum(**single))),
            bindings=(
                *(
                    Binding(queue, self.exchange(subscription.exchange), pattern)
                    for pattern in subscription.patterns
                ),
                Binding(queue, self.retry_back, f"*.{queue}"),
                Binding(suspects, self.retry_back, f"*.{suspects}"),
            ),
        )

    def every_instance(self, subscription: Subscription, fresh: str) -> Plan:
        """The queue of one consumer on one connection. `fresh`: a word never used before, because the broker
        may still hold the queue of a connection that is not yet known to be dead."""
        check_name(subscription.name)
        return self.private(f"{subscription.name}@{fresh}", subscription.exchange, subscription.patterns)

    def private(self, name: str, exchange: Exchange, patterns: tuple[str, ...]) -> Plan:
        """An exclusive queue; at its limit the oldest goes first."""
        for pattern in patterns:
            check_pattern(pattern)
        queue = self.namespace + name
        return Plan(
            queues=(
                QueueSpec(queue, _classic(**{"x-max-length-bytes": PRIVATE_QUEUE_BYTES}), exclusive=True),
            ),
            bindings=tuple(Binding(queue, self.exchange(exchange), pattern) for pattern in patterns),
        )

    def asks(self, name: str, patterns: tuple[str, ...]) -> Plan:
        """The queue of those who answer under this name. It goes with the last of them, so that asking fails
        at once; the expiry takes one that was declared by a process which died before it consumed."""
        check_name(name)
        for pattern in patterns:
            check_pattern(pattern)
        queue = self.asks_queue(name)
        return Plan(
            queues=(QueueSpec(queue, _classic(**{"x-expires": ASKS_EXPIRE_MS}), auto_delete=True),),
            bindings=tuple(Binding(queue, self.exchange("asks"), pattern) for pattern in patterns),
        )

    def tier_key(self, queue: str, remaining_ms: float) -> str | None:
        """The routing key on `retry` that brings a frame `remaining_ms` nearer to `queue`; None when it is
        due.

        The largest tier that does not overshoot the whole units that are left, counting a part as a unit: a
        delay of whole units ends on time, another less than one unit late, none early.
        """
        if remaining_ms <= 0:
            return None
        units = -int(-remaining_ms // self.tier_unit_ms)
        tier = min(units.bit_length() - 1, self.tiers - 1)
        return f"{self._tier_word(tier)}.{queue}"

    def _tier(self, tier: int) -> QueueSpec:
        return QueueSpec(
            self._tier_name(tier),
            _quorum(
                **{
                    "x-message-ttl": self.tier_unit_ms << tier,
                    "x-dead-letter-exchange": self.retry_back,
                    "x-dead-letter-strategy": "at-least-once",
                    "x-overflow": "reject-publish",
                }
            ),
        )

    def _tier_word(self, tier: int) -> str:
        ttl_ms = self.tier_unit_ms << tier
        return f"{ttl_ms // 1000}s" if ttl_ms % 1000 == 0 else f"{ttl_ms}ms"

    def _tier_name(self, tier: int) -> str:
        return f"{self.retry}.{self._tier_word(tier)}"


def check_name(name: str) -> None:
    """Raises TopicInvalid unless `name` may name a subscription or those who answer: it is also a part of
    topics."""
    try:
        check_pattern(name)
    except TopicInvalid as error:
        raise TopicInvalid(f"subscription {name[:80]!r}: {error}") from None
    if "*" in name or "#" in name:
        raise TopicInvalid(f"subscription {name!r}: '*' and '#' are for patterns")
    if len(name) > MAX_NAME_BYTES:
        raise TopicInvalid(
            f"subscription {name[:40]}... has {len(name)} bytes; the limit is {MAX_NAME_BYTES}"
        )
    if name.endswith(SUSPECTS) or name in ("retry", "bus.kept") or name.startswith(("retry.", "asks.")):
        raise TopicInvalid(f"subscription {name!r}: the bus uses this name itself")


def _classic(**arguments: Any) -> Arguments:
    # Said aloud: a virtual host may make queues of another type where none is given.
    return {"x-queue-type": "classic", **arguments}


def _quorum(**arguments: Any) -> Arguments:
    # Without a limit RabbitMQ 4 takes 20, and -1 means "drop after one" to 3.10.
    return {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT, **arguments}
