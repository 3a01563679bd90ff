"""What a limit is and what a take of it comes to: the arithmetic that the engines share. Pure."""

from __future__ import annotations

import math

import msgspec

# Refills are floating-point numbers: what is missing by less than this is not missing.
EPSILON = 1e-9


class Rate(msgspec.Struct, frozen=True):
    """per_s: tokens that come each second. burst: how many are kept at most."""

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_s) and self.per_s > 0):
            raise ValueError(f"per_s is {self.per_s}; it is a number above 0")
        if self.burst < 1:
            raise ValueError(f"burst is {self.burst}; it is at least 1")


class Taken(msgspec.Struct, frozen=True):
    """remaining: whole tokens that are left. retry_after_s: until the same cost would be allowed, 0 when it
    was. reset_after_s: until the bucket is full again. Both if nobody takes anything meanwhile."""

    allowed: bool
    remaining: int
    retry_after_s: float
    reset_after_s: float


def check(rate: Rate, cost: int) -> None:
    """Raises ValueError for a cost that makes no sense."""
    if not 0 <= cost <= rate.burst:
        raise ValueError(f"cost is {cost}; with a burst of {rate.burst} it is from 0 to {rate.burst}")


def taken(allowed: bool, tokens: float, rate: Rate, cost: int) -> Taken:
    """`tokens`: what the bucket holds now."""
    return Taken(
        allowed,
        math.floor(tokens + EPSILON),
        0.0 if allowed else max(0.0, cost - tokens) / rate.per_s,
        max(0.0, rate.burst - tokens) / rate.per_s,
    )
