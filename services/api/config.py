"""The API's settings."""

from __future__ import annotations

import msgspec


class Config(msgspec.Struct, frozen=True):
    """bind, port: where it listens; port_fixed: the port was set, so it does not move when it is taken.
    ask_timeout_s: the deadline of each ask. heartbeat_s: between two comments on a quiet live stream.
    max_body_bytes: of a request; a larger one is refused.
    read_limit_bytes: of a body decoded for reading; longer ones are cut, and say so. drain_s: how long
    requests in flight may take when the service stops."""

    bind: str = "127.0.0.1"
    port: int = 7081
    port_fixed: bool = False
    ask_timeout_s: float = 5.0
    heartbeat_s: float = 15.0
    max_body_bytes: int = 1024 * 1024
    read_limit_bytes: int = 1024 * 1024
    drain_s: float = 5.0
