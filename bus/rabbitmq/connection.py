"""One supervised connection to the broker: opened, watched, given up when it is dead, opened again.

The transport keeps three of them, so that a broker which blocks publishers does not stop acknowledgements.
`Link.open` makes the first connection and says why it cannot; from then on the link repairs itself, with
back-off (0.1 s ... 10 s) and jitter, and runs `prepare` on every new connection before anybody gets it.

Heartbeats, so that a handler which blocks the event loop does not cost the connection. What the broker is
asked to send and wait for is BROKER_HEARTBEAT_S: it gives a client up after two to three times that long
without a sign of life (rabbit_heartbeat checks once an interval and forgives one), so a loop may stand still
for two minutes. Waiting that long for a dead broker would be too slow; so the link itself asks the broker a
small question when half of `heartbeat_s` has passed, and takes it for dead when it has not answered for
`heartbeat_s`. That time is counted in turns of our own loop: a loop that stood still is no sign of a dead
broker. A thread for the connections was the alternative: every frame would then change threads twice, and
wait for the interpreter's lock (up to 5 ms) whenever a handler computes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from aiormq import Connection
from aiormq.channel import Channel
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)
from yarl import URL

from bus.clock import Clock
from bus.errors import BusError, CannotOpen, Unavailable
from bus.rabbitmq.address import Address
from bus.rabbitmq.errors import is_lost, really_cancelled, reason, translate, translated

BROKER_HEARTBEAT_S = 60
CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.5
RPC_TIMEOUT_S = 15.0
BACK_OFF_FIRST_S = 0.1
BACK_OFF_GROWTH = 1.6
BACK_OFF_MOST_S = 10.0

Prepare = Callable[[Connection], Awaitable[None]]
Probe = Callable[[Channel], Awaitable[None]]
"""The small question: anything the broker answers on a channel."""

_log = structlog.get_logger("bus.rabbitmq")


class Link:
    """`connection` is the live one or None; `up()` waits for one. `name` is shown in the broker's list of
    connections."""

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        clock: Clock,
        heartbeat_s: float,
        jitter: Callable[[], float],
        prepare: Prepare,
        probe: Probe,
    ) -> None:
        self.address = address
        self.name = name
        self.connection: Connection | None = None
        self.closed = False
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._jitter = jitter
        self._prepare = prepare
        self._probe = probe
        self._wire: _Wire | None = None
        self._questions: Channel | None = None
        self._up = asyncio.Event()

    async def open(self) -> None:
        """Connect for the first time. Raises CannotOpen (what trying again will not mend), TopologyDiffers,
        or Unavailable."""
        await self._connect()

    async def run(self) -> None:
        """Keep it open until `close`. Runs in the transport's task group."""
        failures, told = 0, ""
        while not self.closed:
            if self.connection is not None:
                await self._until_lost(self.connection)
                await self._drop()
                continue
            most_s = min(BACK_OFF_FIRST_S * BACK_OFF_GROWTH**failures, BACK_OFF_MOST_S)
            await self._clock.sleep(most_s * (0.5 + 0.5 * self._jitter()))
            if self.closed:
                return
            try:
                await self._connect()
            except BusError as error:
                failures = min(failures + 1, 12)
                if str(error) != told:  # not the same again at every attempt
                    told = str(error)
                    _log.warning("cannot connect, trying again", connection=self.name, error=str(error))
            else:
                failures, told = 0, ""
                _log.info("connected again", connection=self.name, broker=str(self.address))

    async def up(self) -> Connection:
        """The live connection, as soon as there is one. Raises Unavailable once the link is closed."""
        while True:
            if self.closed:
                raise Unavailable(f"{self.address}: the bus is closed")
            if self.connection is not None and not self.connection.is_closed:
                return self.connection
            if self.connection is not None:  # lost, and `run` has not noticed yet
                self._up.clear()
            await self._up.wait()

    @property
    def ready(self) -> bool:
        return self.connection is not None and not self.connection.is_closed

    @property
    def blocked(self) -> bool:
        """Whether the broker has said that it reads nothing from this connection (memory or disk alarm)."""
        return self.connection is not None and is_blocked(self.connection)

    def renew(self) -> None:
        """Cut the connection, so that everything is declared again on the next one."""
        self._abort()

    async def close(self) -> None:
        """Close it, in CLOSE_TIMEOUT_S at most whatever the broker does. Idempotent."""
        self.closed = True
        self._up.set()
        await self._drop()

    async def _connect(self) -> None:
        tls = await asyncio.to_thread(self.address.tls)
        wire = self._wire = _Wire(tls)
        connection = Connection(
            self.address.url(heartbeat_s=BROKER_HEARTBEAT_S), context=tls, transport_factory=wire
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect({"product": "Trunkline", "connection_name": self.name})
        except BaseException as error:
            # Also when it has just succeeded: the driver's tasks would go on without an owner.
            await _close(connection, wire)
            if isinstance(error, asyncio.CancelledError) and not really_cancelled():
                raise translate(str(self.address), error) from None
            if not isinstance(error, Exception) or not is_lost(error):
                raise
            raise self._why_not(error) from error
        try:
            if not self.closed:
                await self._prepare(connection)
        except BaseException:
            await _close(connection, wire)
            raise
        if self.closed:  # in the meantime
            await _close(connection, wire)
            return
        self.connection = connection
        self._up.set()

    def _why_not(self, error: BaseException) -> BusError:
        if isinstance(error, ProbableAuthenticationError | AuthenticationError):
            return CannotOpen(
                f"{self.address}: the broker refuses user {self.address.user!r}: {reason(error)}"
            )
        if isinstance(error, ConnectionNotAllowed) or "OpenOk" in reason(error):
            # In the latter the driver has swallowed the broker's words.
            return CannotOpen(
                f"{self.address}: the broker refuses virtual host {self.address.vhost!r}: there is none"
                f" of that name, or user {self.address.user!r} may not use it"
            )
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in reason(error):
            return CannotOpen(f"{self.address}: its certificate is not trusted: {reason(error)}")
        if isinstance(error, TimeoutError):
            return Unavailable(f"{self.address}: no answer within {CONNECT_TIMEOUT_S:g} s")
        if isinstance(error, AMQPConnectionError | OSError):
            return Unavailable(f"{self.address}: cannot connect: {reason(error)}")
        return translate(str(self.address), error)

    async def _until_lost(self, connection: Connection) -> None:
        """Return when the connection is gone, or when the broker does not answer on it."""
        gone = connection.closing
        try:
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(self._ask(connection))
                while not gone.done() and await self._answered(connection, gone, asked):
                    await asyncio.wait({gone}, timeout=self._heartbeat_s / 2)
                    asked = tasks.create_task(self._ask(connection))
                if not asked.done():
                    # First: the driver would wait for the dead broker even when it is cancelled.
                    self._abort()
                    asked.cancel()
        finally:
            gone.cancel()
        if not self.closed:
            _log.warning("connection lost", connection=self.name, broker=str(self.address))

    async def _ask(self, connection: Connection) -> bool:
        try:
            with translated(self.name):
                if self._questions is None or self._questions.is_closed:
                    self._questions = await open_channel(connection, confirms=False)
                await self._probe(self._questions)
        except BusError as error:
            _log.debug("the broker's answer was an error", connection=self.name, error=str(error))
            return not connection.is_closed
        return True

    async def _answered(
        self, connection: Connection, gone: asyncio.Future[Any], asked: asyncio.Task[bool]
    ) -> bool:
        """Whether an answer comes within `heartbeat_s` of turning loop. A blocked connection is given all the
        time it takes."""
        quarters = 0
        while quarters < 4 and not asked.done() and not gone.done():
            await asyncio.wait(
                {asked, gone}, timeout=self._heartbeat_s / 4, return_when=asyncio.FIRST_COMPLETED
            )
            quarters = 0 if is_blocked(connection) else quarters + 1
        return asked.done() and asked.result()

    async def _drop(self) -> None:
        connection, self.connection = self.connection, None
        self._questions = None
        if not self.closed:
            self._up.clear()
        if connection is not None and self._wire is not None:
            await _close(connection, self._wire)

    def _abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()


class _Wire(TransportFactory):
    """The driver's own way to open a socket, which also remembers it: a broker that reads nothing more can
    only be left by cutting the line."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._inner: TransportFactory = TCPTransportFactory() if tls is None else TLSTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._inner.create(url, **kwargs)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def open_channel(connection: Connection, *, confirms: bool, buffer: int = 10) -> Channel:
    """buffer: how many AMQP frames (three for a message) may wait before the reader of the connection
    does."""
    channel = await connection.channel(
        publisher_confirms=confirms, frame_buffer_size=buffer, timeout=RPC_TIMEOUT_S
    )
    assert isinstance(channel, Channel)
    return channel


async def _close(connection: Connection, wire: _Wire) -> None:
    """Politely, then not."""
    with suppress(BusError), translated("closing"):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.close()
    wire.abort()
    if not connection.is_closed:
        gone = connection.closing
        await asyncio.wait({gone}, timeout=CLOSE_TIMEOUT_S)
        gone.cancel()


def is_blocked(connection: Connection) -> bool:
    """The driver has no question for it, but waits in `ready()` while the broker blocks: look whether it
    would."""
    waiting = connection.ready()
    try:
        waiting.send(None)
    except StopIteration:
        return False
    finally:
        waiting.close()
    return True
