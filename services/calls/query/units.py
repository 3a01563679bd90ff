"""The units that amounts are typed in, and how many of the smallest each is."""

from __future__ import annotations

# The first unit of each scale that divides an amount is the one it is shown in.
_DURATIONS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
_SIZES = {"gb": 10**9, "mb": 10**6, "kb": 1000, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}

AGES_S = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
SCALES: dict[str, dict[str, int]] = {"duration": _DURATIONS, "size": _SIZES, "request-size": _SIZES}
EXAMPLES = {"duration": ">500ms", "size": ">1mb", "request-size": ">10kb"}
