"""Makes what a `topology.Plan` says, on a channel of its own, and says which argument differs when something
else exists.

Called whenever a connection is made, so that a broker which came back empty gets everything again. A
contradiction closes the channel it is found on: hence the throw-away channel, which no consumer shares.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from aiormq import Connection
from aiormq.channel import Channel
from aiormq.exceptions import ChannelLockedResource

from bus.errors import BusError, TopologyDiffers
from bus.rabbitmq.connection import RPC_TIMEOUT_S, open_channel
from bus.rabbitmq.errors import precondition, reason, translated
from bus.rabbitmq.topology import Plan

_ARGUMENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)'.*?: received (?P<ours>.+?) but current is (?P<theirs>.+?)\"?$"
)


@asynccontextmanager
async def passing_channel(connection: Connection, what: str) -> AsyncIterator[Channel]:
    """A channel for a few questions. Raises Unavailable."""
    with translated(what):
        channel = await open_channel(connection, confirms=False)
    try:
        with translated(what):
            yield channel
    finally:
        with suppress(BusError), translated(what):
            await channel.close(timeout=RPC_TIMEOUT_S)


async def declare(connection: Connection, plans: Iterable[Plan], what: str) -> None:
    """Make everything in `plans`. Idempotent. Raises TopologyDiffers or Unavailable; what stands before the
    contradiction has been made then, which is harmless."""
    async with passing_channel(connection, what) as channel:
        for plan in plans:
            await declare_on(channel, plan, what)


async def declare_on(channel: Channel, plan: Plan, what: str) -> None:
    """The same on a channel of the caller's, which is closed when something differs."""
    for exchange in plan.exchanges:
        with _naming(f"exchange {exchange.name!r}", what):
            await channel.exchange_declare(
                exchange.name,
                exchange_type=exchange.kind,
                durable=True,
                arguments=exchange.arguments,
                timeout=RPC_TIMEOUT_S,
            )
    for queue in plan.queues:
        with _naming(f"queue {queue.name!r}", what):
            await channel.queue_declare(
                queue.name,
                durable=not queue.exclusive,
                exclusive=queue.exclusive,
                auto_delete=queue.auto_delete,
                arguments=queue.arguments,
                timeout=RPC_TIMEOUT_S,
            )
    with translated(what):
        for binding in plan.bindings:
            await channel.queue_bind(binding.queue, binding.exchange, binding.pattern, timeout=RPC_TIMEOUT_S)


class _naming:
    """Turns the broker's refusal of a declaration into TopologyDiffers."""

    def __init__(self, name: str, what: str) -> None:
        self._name = name
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        said = None if error is None else precondition(error)
        if said is not None:
            raise TopologyDiffers(f"{self._what}: {self._name} {difference(said)}") from error
        if isinstance(error, ChannelLockedResource):
            raise TopologyDiffers(
                f"{self._what}: {self._name} belongs to another connection: {reason(error)}"
            ) from error
        if error is not None:
            with translated(self._what):
                raise error


def difference(said: str) -> str:
    """`has x-max-length-bytes = 100, this version declares none`, from the words of the broker."""
    found = _ARGUMENT.search(said)
    if found is None:
        return f"exists, but otherwise than this version declares it: {said}"
    return f"has {found['argument']} {_value(found['theirs'])}, this version declares {_value(found['ours'])}"


def _value(said: str) -> str:
    found = re.search(r"'([^']*)'", said)
    return found[1] if found else said
