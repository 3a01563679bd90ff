"""The API's settings."""

from __future__ import annotations

from typing import Annotated

import msgspec

Origin = Annotated[str, msgspec.Meta(pattern=r"\A(\*|https?://[a-z0-9.\-\[\]:]+)\Z")]
PerSecond = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Burst = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Config(msgspec.Struct, frozen=True):
    """bind, port: where it listens; port_fixed: the port was set, so it does not move when it is taken.
    ask_timeout_s: the deadline of each ask. heartbeat_s: between two comments on a quiet live stream.
    max_body_bytes: of a request; a larger one is refused.
    read_limit_bytes: of a body decoded for reading; longer ones are cut, and say so. drain_s: how long
    requests in flight may take when the service stops.
    rate_per_s, rate_burst: how many requests of one token are taken: so many a second for long, so many at
    once. public_rate_per_s, public_rate_burst: the same for requests without a good token, by the client's
    address. cors_origins: the origins of web pages that may call the API, such as
    `https://dashboard.example.com`; `*` is any page. redis_url: where limits, and what is known of repeated
    requests, are shared."""

    bind: str = "127.0.0.1"
    port: int = 7081
    port_fixed: bool = False
    ask_timeout_s: float = 5.0
    heartbeat_s: float = 15.0
    max_body_bytes: int = 1024 * 1024
    read_limit_bytes: int = 1024 * 1024
    drain_s: float = 5.0
    rate_per_s: PerSecond = 50.0
    rate_burst: Burst = 200
    public_rate_per_s: PerSecond = 5.0
    public_rate_burst: Burst = 30
    cors_origins: tuple[Origin, ...] = ()
    redis_url: str = "memory:"
