"""Who may do what, as the edges know it. The gateway asks for the bucket that is called (`addressed`), the
API for a caller's rights (`grant`); `tokens` says what a secret looks like.

    async with Access.open(ground) as access:
        grant = await access.grant(secret)
"""

from __future__ import annotations

from services.chassis.access.knowing import MAX_STALE_S, Access, Addressed, Grant

__all__ = ["MAX_STALE_S", "Access", "Addressed", "Grant"]
