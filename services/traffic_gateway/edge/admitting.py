"""Who may connect: counts the connections of each client and of all. Called by `serving`, on one loop.

A client is an address; of IPv6 a /64, which one machine has to itself. Behind a proxy all clients have the
proxy's address: the limit is the proxy's to keep, and is set to 0 here.
"""

from __future__ import annotations

from collections import Counter

from services.chassis.limits.places import place_of
from services.chassis.web import Problem
from services.traffic_gateway.edge.problems import GATEWAY_FULL, TOO_MANY_CONNECTIONS

_AGAIN = {"Retry-After": "1"}


class Rejected(Exception):
    """The connection is closed without a word: who goes on knocking gets no answers any more."""


class Admission:
    """most, most_per_client: how many connections; 0: any number. open: how many there are."""

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._of_client: Counter[str] = Counter()
        self.open = 0

    def enter(self, client: str) -> Problem | None:
        """Count a connection of `client`'s; it is to be counted out by `leave`, also when a problem comes
        back, which is its only answer. Raises Rejected when twice as many as may be are open: then nothing
        was counted."""
        mine = self._of_client[client] + 1
        everyone = self.open + 1
        if 0 < 2 * self._most_per_client < mine or 0 < 2 * self._most < everyone:
            raise Rejected
        self._of_client[client] = mine
        self.open = everyone
        if 0 < self._most_per_client < mine:
            detail = f"{self._most_per_client} connections of {client} are open"
            return TOO_MANY_CONNECTIONS.of(detail, headers=_AGAIN)
        if 0 < self._most < everyone:
            return GATEWAY_FULL.of(f"{self._most} connections are open", headers=_AGAIN)
        return None

    def leave(self, client: str) -> None:
        self.open -= 1
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]


def client_of(peer: object) -> str:
    """The client that a socket's peer name stands for; empty for sockets without addresses."""
    if not isinstance(peer, tuple) or not peer:
        return ""
    return str(place_of(str(peer[0])) or peer[0])
