"""Whether a server is ready for clients, asked in its own protocol. Used by `deploy.stack.server`.

An open port is not enough: PostgreSQL and Redis accept connections while they are still recovering their
data. Each probe takes the port and the password, answers True once a client would be served, and False
before.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from deploy.stack.process import listening

USER = "trunkline"
DATABASE = "trunkline"


def _exchange(port: int, said: bytes, size: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(said)
            return connection.recv(size)
    except OSError:
        return b""


def epmd(port: int, password: str) -> bool:
    """The Erlang port mapper answers nothing that is worth asking: listening is enough."""
    return listening(port)


def amqp(port: int, password: str) -> bool:
    """RabbitMQ opens its listeners last, and greets a protocol header with a method frame (type 1)."""
    return _exchange(port, b"AMQP\x00\x00\x09\x01", 1) == b"\x01"


def redis(port: int, password: str) -> bool:
    """Redis answers -LOADING until its data is read."""
    return _exchange(port, f"AUTH {password}\r\nPING\r\n".encode(), 64).startswith(b"+OK")


def postgres(port: int, password: str) -> bool:
    """PostgreSQL asks for a password ('R') once it would let a user in, and sends an error ('E') before."""
    parameters = b"".join(word.encode() + b"\x00" for word in ("user", USER, "database", DATABASE))
    startup = struct.pack("!i", 196_608) + parameters + b"\x00"  # protocol 3.0
    return _exchange(port, struct.pack("!i", len(startup) + 4) + startup, 1) == b"R"


PROBES: dict[str, Callable[[int, str], bool]] = {
    "epmd": epmd,
    "amqp": amqp,
    "redis": redis,
    "postgres": postgres,
}
