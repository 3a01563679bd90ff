from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from bus.message import Subscription
from bus.transport import Frame
from tests.bus.rabbitmq.inbox import BILLING, CLOCK, TIER_UNIT_MS, Inbox, done, frame, in_ms, opened


async def test_long_and_short_delays_do_not_wait_for_each_other(amqp_url: str) -> None:
    """Sent from the longest to the shortest; each comes at its time and none before."""
    delays_ms = [1600, 1200, 800, 550, 300, 130, 50, 0, -500]
    async with opened(amqp_url) as transport:
        late_ms: dict[str, float] = {}

        def arrive(delivered: object) -> None:
            body = inbox.arrived[-1].frame.body.decode()
            late_ms[body] = (CLOCK.now() - dues[body]).total_seconds() * 1000
            inbox.arrived[-1].done()

        inbox = Inbox(arrive)
        await transport.consume(BILLING, inbox)
        dues = {str(delay_ms): in_ms(delay_ms) for delay_ms in delays_ms}
        for body, due in dues.items():
            await transport.send_later("billing", frame(body), due=due)
        await inbox.until(lambda: len(inbox.arrived) == len(delays_ms))
    assert inbox.bodies == [
        str(delay_ms) for delay_ms in sorted(delays_ms, key=lambda delay_ms: max(delay_ms, 0))
    ]
    assert min(late_ms.values()) >= 0
    assert max(late for body, late in late_ms.items() if body != "-500") < TIER_UNIT_MS + 150


async def test_a_delay_keeps_what_is_known_of_the_frame(amqp_url: str) -> None:
    sent = Frame(
        b"\x00",
        ("shop.order.placed._", "shop.order.paid._"),
        "application/json",
        {"cloudEvents:id": "7"},
        attempt=2,
        suspect=True,
        first_failed_at=in_ms(0),
        last_error="ValueError: no",
    )
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await transport.send_later("billing", sent, due=in_ms(170))
        assert (await inbox.next()).frame == sent


async def test_many_delayed_frames_do_not_stop_fresh_ones(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox, window_frames=4)
        due = in_ms(2000)
        delayed = [transport.send_later("billing", frame(f"late {number}"), due=due) for number in range(100)]
        await asyncio.gather(*delayed)
        for number in range(50):
            await transport.publish(frame(f"{number}"))
        await inbox.until(lambda: len(inbox.arrived) == 50)
        assert CLOCK.now() < due
        await inbox.until(lambda: len(inbox.arrived) == 150)


async def test_a_delayed_publish_is_routed_when_it_is_due(amqp_url: str) -> None:
    """Also to a subscription that did not exist when it was published, and with all its topics."""
    crm = Subscription("crm", ("crm.#",))
    async with opened(amqp_url) as transport:
        await transport.publish(frame("x", "shop.order.placed._", "crm.lead.found._"), due=in_ms(700))
        inboxes = Inbox(done), Inbox(done)
        await transport.consume(BILLING, inboxes[0])
        await transport.consume(crm, inboxes[1])
        for inbox in inboxes:
            assert (await inbox.next()).frame.body == b"x"


async def test_a_delay_outlives_the_process_that_asked_for_it(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
        await transport.send_later("billing", frame("one"), due=in_ms(400))
        await transport.publish(frame("two"), due=in_ms(400))
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await inbox.until(lambda: sorted(inbox.bodies) == ["one", "two"])


async def test_what_has_no_queue_any_more_when_it_is_due_is_kept_and_told(amqp_url: str) -> None:
    lost = Subscription("retry.lost", ())
    with capture_logs() as told:
        async with opened(amqp_url, heartbeat_s=0.5) as transport, asyncio.timeout(10):
            await transport.publish(frame("x", "crm.lead.found._"), due=in_ms(100))
            while await transport.queue_depths([lost]) != {"retry.lost": 1}:
                pass
            while not any(line.get("queue") == "retry.lost" and line.get("frames") == 1 for line in told):
                await CLOCK.sleep(0.05)


async def test_an_every_instance_subscription_gets_its_own_frame_later(amqp_url: str) -> None:
    live = Subscription("live", ("shop.#",), "every_instance")
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(live, inbox)
        due = in_ms(200)
        await transport.send_later("live", Frame(b"x", ("shop.a._",), attempt=1), due=due)
        delivered = await inbox.next()
        assert CLOCK.now() >= due
        assert delivered.frame.attempt == 1
