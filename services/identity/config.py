"""Identity's settings."""

from __future__ import annotations

import msgspec


class Config(msgspec.Struct, frozen=True):
    """append_timeout_s: how long the vault may take to record a decision. tries: how often a decision is made
    again when another instance was quicker."""

    append_timeout_s: float = 5.0
    tries: int = 8
