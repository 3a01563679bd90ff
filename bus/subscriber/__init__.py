"""Frames -> handlers: unpacks, hands over, settles each event, acknowledges, and pauses when a dependency is
away.

Made by `bus.serve` for each router that consumes. What happens to an event depends on how its handler ended:

    returned            it is done
    Unavailable         the subscription pauses: what was not begun goes back, the event in hand is tried
                        again with back-off until
                        the dependency answers; no attempt is counted
    Reject, Malformed   it is parked at once
    anything else       a copy is sent to come back after the next delay; when the delays are used up it is
                        parked

A frame is acknowledged when each of its events is done, parked, or on its way back: the copy is confirmed
first.

    shared.py    instances divide the frames, workers beside each other     no order
    batches.py   the same, for handlers that take many events at once       no order
    in_order.py  ordered and every_instance: one event after another        order kept, a failing subject held
                 back
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from bus.message import Subscription
from bus.router import Router
from bus.subscriber.batches import BatchSubscriber
from bus.subscriber.in_order import InOrderSubscriber
from bus.subscriber.running import Subscriber
from bus.subscriber.shared import SharedSubscriber

if TYPE_CHECKING:
    from bus.connect import Bus

__all__ = ["Subscriber", "open_subscriber"]


def open_subscriber(
    router: Router, subscription: Subscription, bus: Bus
) -> AbstractAsyncContextManager[Subscriber]:
    """One running instance of a subscription: ready on entry, drained on exit."""
    if subscription.mode != "shared":
        if router.batch is not None:
            raise ValueError(f"router {router.name!r}: only shared subscriptions take batches")
        return InOrderSubscriber(router, subscription, bus).run()
    if router.batch is not None:
        return BatchSubscriber(router, subscription, bus).run()
    return SharedSubscriber(router, subscription, bus).run()
