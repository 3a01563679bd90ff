"""The API service's contract: it answers outside clients over HTTP and asks the others over the bus; it
publishes nothing of its own."""

from __future__ import annotations

from bus.message import Subscription

FACTS = ()
OPERATIONS = ()
SUBSCRIPTIONS: tuple[Subscription, ...] = ()
