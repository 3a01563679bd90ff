"""The API service's contract: it answers outside clients over HTTP and asks the others over the bus. What it
publishes is only what it alone sees: that a token was used."""

from __future__ import annotations

from datetime import datetime

from bus.message import Fact, Subscription

USED_EVERY_S = 300


class TokenUsed(Fact, frozen=True):
    """A token was used. Told at most once in USED_EVERY_S for each token, by each instance. Subject: the
    token's id; its own stream is `api.token-<id>`, since `identity.token-<id>` is one of decisions."""

    TYPE = "api.token.used"

    id: str
    at: datetime


FACTS = (TokenUsed,)
OPERATIONS = ()
SUBSCRIPTIONS: tuple[Subscription, ...] = ()
