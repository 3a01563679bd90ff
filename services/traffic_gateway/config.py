"""The gateway's settings."""

from __future__ import annotations

import msgspec

from services.chassis.config import Port, PublicUrl


class Config(msgspec.Struct, frozen=True):
    """bind, port: where it listens; port_fixed: the port was set, so it does not move when it is taken.
    domain: host names below it are addresses of the host scheme. public_url: by what address others reach it;
    empty: worked out from bind and port. tls_port: where it speaks TLS too; 0: nowhere. tls_cert, tls_key:
    the PEM files that it does so with. targets_allow, targets_deny: which networks calls may go to, and may
    not.

    connect_timeout_s: resolving, connecting and TLS together. wait_timeout_s: from the request's last byte to
    the response's head. idle_timeout_s: between two pieces of a body; a stream may last as long as it says
    something. keep_alive_s: how long a client may be silent between two requests, or before the first.
    head_timeout_s: from a request's first byte to the end of its head. total_timeout_s: from there to the
    answer's last byte; 0: none, for streams may be endless. drain_s: how long calls in flight may take when
    the service stops.

    max_connections: of clients; max_connections_per_client: of one address (IPv6: one /64); 0: any number.
    max_line_bytes: a request's or response's first line. max_field_bytes: one header. max_headers: how many
    headers. max_head_bytes: all headers together. capture_memory_bytes: what the bodies of all calls in
    flight may hold together; when it is used up, bodies are cut short and say so. max_spool_bytes: on disk,
    for captures that the bus cannot take yet."""

    bind: str = "127.0.0.1"
    port: int = 7080
    port_fixed: bool = False
    domain: str = "localhost"
    public_url: PublicUrl = ""
    tls_port: Port = 0
    tls_cert: str = ""
    tls_key: str = ""
    targets_allow: tuple[str, ...] = ()
    targets_deny: tuple[str, ...] = ()
    connect_timeout_s: float = 10.0
    wait_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    keep_alive_s: float = 75.0
    head_timeout_s: float = 20.0
    total_timeout_s: float = 0.0
    max_connections: int = 8192
    max_connections_per_client: int = 256
    drain_s: float = 5.0
    max_line_bytes: int = 64 * 1024
    max_field_bytes: int = 64 * 1024
    max_headers: int = 2048
    max_head_bytes: int = 256 * 1024
    capture_memory_bytes: int = 128 * 1024 * 1024
    max_spool_bytes: int = 1024**3
