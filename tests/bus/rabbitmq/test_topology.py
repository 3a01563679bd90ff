from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import TopicInvalid
from bus.message import Subscription
from bus.rabbitmq.topology import DELIVERY_LIMIT, SUSPECTS, TIERS, Topology

BILLING = Subscription("billing", ("shop.order.*.*", "shop.refund.#"))


def test_every_quorum_queue_has_an_explicit_delivery_limit() -> None:
    topology = Topology()
    queues = [*topology.base().queues, *topology.subscription(BILLING).queues]
    quorum = [queue for queue in queues if queue.arguments["x-queue-type"] == "quorum"]
    assert len(quorum) == TIERS + 4
    assert {queue.arguments["x-delivery-limit"] for queue in quorum} == {DELIVERY_LIMIT}


def test_tiers_dead_letter_at_least_once_and_nothing_else_dead_letters() -> None:
    topology = Topology()
    tiers = {
        queue.name: queue.arguments for queue in topology.base().queues if "x-message-ttl" in queue.arguments
    }
    assert [arguments["x-message-ttl"] for arguments in tiers.values()] == [
        1000 << tier for tier in range(TIERS)
    ]
    assert {"retry.1s", "retry.65536s"} < tiers.keys()
    for arguments in tiers.values():
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        assert (
            arguments["x-overflow"] == "reject-publish"
        )  # without it, at least once is silently at most once
        assert arguments["x-dead-letter-exchange"] == "retry.back"
    others = [
        queue
        for queue in (*topology.base().queues, *topology.subscription(BILLING).queues)
        if queue.name not in tiers
    ]
    assert not any("x-dead-letter-exchange" in queue.arguments for queue in others)


def test_what_comes_back_for_a_queue_that_is_gone_is_kept() -> None:
    base = Topology().base()
    back = next(exchange for exchange in base.exchanges if exchange.name == "retry.back")
    assert back.arguments == {"alternate-exchange": "retry.lost"}
    assert ("retry.lost", "retry.lost") in {(binding.queue, binding.exchange) for binding in base.bindings}


def test_nothing_is_used_that_rabbitmq_4_denies() -> None:
    topology = Topology()
    plans = [topology.base(), topology.subscription(BILLING), topology.asks("stock", ("shop.stock.*",))]
    assert not any(queue.exclusive for plan in plans for queue in plan.queues)  # those that last are durable
    assert all(queue.exclusive for queue in topology.every_instance(BILLING, "f00").queues)


def test_only_an_ordered_subscription_has_a_single_active_consumer() -> None:
    topology = Topology()
    shared = topology.subscription(BILLING)
    ordered = topology.subscription(Subscription("billing", ("#",), "ordered"))
    assert not any("x-single-active-consumer" in queue.arguments for queue in shared.queues)
    assert all(queue.arguments["x-single-active-consumer"] for queue in ordered.queues)


def test_only_a_subscription_that_pushes_back_has_a_limit() -> None:
    vault = Subscription("vault", ("#",), max_bytes=1_000_000, pushes_back=True)
    queue, suspects = Topology().subscription(vault).queues
    assert queue.arguments["x-max-length-bytes"] == 1_000_000
    assert queue.arguments["x-overflow"] == "reject-publish"
    limitless = Subscription("other", ("#",), max_bytes=1_000_000)
    for other in (suspects, *Topology().subscription(limitless).queues):
        assert not {"x-overflow", "x-max-length-bytes"} & other.arguments.keys()


def test_patterns_are_bound_to_the_subscriptions_exchange_under_the_namespace() -> None:
    plan = Topology("t1.").subscription(Subscription("in", ("a.*.#",), exchange="ingress"))
    assert [(binding.queue, binding.exchange, binding.pattern) for binding in plan.bindings] == [
        ("t1.in", "t1.ingress", "a.*.#"),
        ("t1.in", "t1.retry.back", "*.t1.in"),
        ("t1.in.suspects", "t1.retry.back", "*.t1.in.suspects"),
    ]
    base = Topology("t1.").base()
    names = [queue.name for queue in base.queues] + [exchange.name for exchange in base.exchanges]
    assert all(name.startswith("t1.") for name in names)


@pytest.mark.parametrize(
    "name", ["", "a..b", "a.#", "*", "x" * 201, "billing" + SUSPECTS, "retry.due", "asks.stock", "bus.kept"]
)
def test_names_that_cannot_be_a_queues_are_refused(name: str) -> None:
    with pytest.raises(TopicInvalid):
        Topology().subscription(Subscription(name, ("#",)))


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(TopicInvalid, match=r"a\.b\*"):
        Topology().subscription(Subscription("billing", ("a.b*",)))


@given(delay_ms=st.integers(1, 40 * 24 * 3600 * 1000), unit_ms=st.sampled_from([1, 50, 1000]))
def test_a_delay_ends_less_than_a_unit_late_and_never_early(delay_ms: int, unit_ms: int) -> None:
    topology = Topology(tier_unit_ms=unit_ms)
    time_by_tier = {
        topology._tier_word(tier): unit_ms << tier  # the pattern each tier's queue is bound with
        for tier in range(TIERS)
    }
    waited_ms, hops = 0, 0
    while (key := topology.tier_key("billing", delay_ms - waited_ms)) is not None:
        tier, _, queue = key.partition(".")
        assert queue == "billing"
        waited_ms += time_by_tier[tier]
        hops += 1
    assert delay_ms <= waited_ms < delay_ms + unit_ms
    assert hops <= TIERS + delay_ms // (unit_ms << (TIERS - 1))


def test_a_delay_of_whole_units_with_late_tiers_still_ends_on_time() -> None:
    """Each hop takes some milliseconds; they must not add a unit."""
    topology = Topology()
    remaining_ms, tiers = 90_000.0, []
    while (key := topology.tier_key("q", remaining_ms)) is not None:
        tiers.append(key.partition(".")[0])
        remaining_ms -= int(tiers[-1][:-1]) * 1000 + 5
    assert tiers == ["64s", "16s", "8s", "2s"]
