"""Verbs run in the tests' own process here: what they set up for a process of their own must not outlive
them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.chassis import telemetry


@pytest.fixture(autouse=True, scope="module")
def the_log_stays_the_tests() -> Iterator[None]:
    """A logger that was used while the log is configured keeps its level for good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "configure", lambda form, level: None)
        yield
