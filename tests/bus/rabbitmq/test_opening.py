from __future__ import annotations

import asyncio
import socket

import pytest

from bus.errors import CannotOpen, TopologyDiffers, Unavailable
from bus.message import Subscription
from tests.bus.rabbitmq.inbox import BILLING, CLOCK, Inbox, done, frame, opened


async def _error(url: str) -> Exception:
    with pytest.raises(Exception) as caught:
        async with opened(url):
            pass
    return caught.value


async def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await _error(f"amqp://me:s3cret@127.0.0.1:{port}/")
    assert type(error) is Unavailable
    assert f"amqp://me@127.0.0.1:{port}" in str(error)
    assert "s3cret" not in str(error)


async def test_something_else_listens() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        error = await _error(f"amqp://me:s3cret@127.0.0.1:{port}/")
    assert isinstance(error, Unavailable | CannotOpen)
    assert str(port) in str(error)


async def test_a_wrong_password_and_an_unknown_virtual_host(amqp_url: str) -> None:
    user, _, rest = amqp_url.removeprefix("amqp://").partition(":")
    error = await _error(f"amqp://{user}:s3cret@{rest.partition('@')[2]}")
    assert type(error) is CannotOpen
    assert f"user {user!r}" in str(error)
    assert "s3cret" not in str(error)
    error = await _error(amqp_url.rpartition("/")[0] + "/no-such-vhost")
    assert type(error) is CannotOpen
    assert "no-such-vhost" in str(error)


async def test_tls(amqps_url: str) -> None:
    async with opened(amqps_url, namespace="test-tls.") as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await transport.publish(frame("x" * 400_000))
        await inbox.next()


async def test_a_certificate_that_is_not_trusted(amqps_url: str) -> None:
    error = await _error(amqps_url.partition("?")[0])
    assert type(error) is CannotOpen
    assert "certificate" in str(error)


async def test_a_queue_with_other_arguments_is_named_and_left_as_it_is(amqp_url: str) -> None:
    limited = Subscription("billing", ("shop.#",), max_bytes=1_000_000, pushes_back=True)
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
        with pytest.raises(TopologyDiffers, match=r"queue 'billing' has x-max-length-bytes none") as caught:
            await transport.declare([limited])
        assert "1000000" in str(caught.value)
        with pytest.raises(TopologyDiffers, match="billing"):
            await transport.consume(limited, Inbox())
        # The others go on.
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await transport.publish(frame("x"))
        await inbox.next()


async def test_another_installations_tiers_are_refused(amqp_url: str) -> None:
    """Tier names say how long they hold; that a tier's way back differs is found out at the start."""
    async with opened(amqp_url, tier_unit_ms=1000):
        pass
    import aiormq

    async with aiormq.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete("retry.1s")
        await channel.queue_declare(
            "retry.1s",
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-message-ttl": 1000,
                "x-dead-letter-exchange": "retry.back",
            },
        )
    error = await _error_of_real_tiers(amqp_url)
    assert type(error) is TopologyDiffers
    assert "'retry.1s'" in str(error)


async def _error_of_real_tiers(url: str) -> Exception:
    with pytest.raises(TopologyDiffers) as caught:
        async with opened(url, tier_unit_ms=1000):
            pass
    return caught.value


async def test_the_bodys_own_error_comes_out_as_it_is(amqp_url: str) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with opened(amqp_url):
            raise KeyError("mine")


async def test_opening_and_closing_is_quick_and_repeatable(amqp_url: str) -> None:
    started_s = CLOCK.monotonic()
    for _ in range(10):
        async with opened(amqp_url) as transport:
            await transport.consume(BILLING, Inbox(done))
            await transport.publish(frame("x"))
    assert CLOCK.monotonic() - started_s < 10
