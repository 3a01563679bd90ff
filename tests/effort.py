"""How far tests search that try many cases: those marked `searches`.

TRUNKLINE_TEST_EFFORT says how many times as far as is written beside each; `make test-reliability` sets it.
"""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("TRUNKLINE_TEST_EFFORT", "1"))


def tries(count: int) -> int:
    """So many in every run; also the seconds they may take."""
    return count * EFFORT
