"""A pool of empty RabbitMQ virtual hosts, so that each test has a broker of its own as far as names go.

Used by `tests/conftest.py`. Virtual hosts are made a score at a time, and those used meanwhile are deleted by
the same command: rabbitmqctl takes half a second to start, whatever it does.
"""

from __future__ import annotations

import secrets
from types import TracebackType
from typing import Self

from deploy.stack import Server

BATCH = 16


QUEUES_REGISTERED_S = 1.5
"""A broker that is killed within half a second of declaring a quorum queue forgets which log is the queue's:
RabbitMQ 3.10 saves that table now and then only, and the queue stays down. So tests that kill it let new
queues grow a little older first."""


class Vhosts:
    """Virtual hosts of one broker."""

    def __init__(self, broker: Server) -> None:
        self._broker = broker
        self._ready: list[str] = []
        self._used: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._used and self._broker.running:
            self._broker.control("eval", f"{self._deletion()}.")

    def take(self) -> str:
        """The name of a virtual host that nobody has used."""
        if not self._ready:
            self._ready = [f"test-{secrets.token_hex(4)}" for _ in range(BATCH)]
            added = _each(
                self._ready,
                'rabbit_vhost:add(V, <<"tests">>),'
                'rabbit_auth_backend_internal:set_permissions(<<"trunkline">>, V,'
                ' <<".*">>, <<".*">>, <<".*">>, <<"tests">>)',
            )
            self._broker.control("eval", f"{self._deletion()}, {added}.")
        return self._ready.pop()

    def give_back(self, vhost: str) -> None:
        """Have a virtual host deleted with everything in it, soon."""
        self._used.append(vhost)

    def url(self, vhost: str) -> str:
        """The address of one of them."""
        return self._broker.url + vhost

    def _deletion(self) -> str:
        gone, self._used = self._used, []
        return _each(gone, 'rabbit_vhost:delete(V, <<"tests">>)')


def _each(vhosts: list[str], expression: str) -> str:
    names = ", ".join(f'<<"{vhost}">>' for vhost in vhosts)
    return f"lists:foreach(fun(V) -> {expression} end, [{names}])"
