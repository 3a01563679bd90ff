"""Logs as plain lines: the default's framed tracebacks take longer to draw than most of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger


def brief(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """An error in one line."""
    if "exc_info" in event:
        event["exc_info"] = repr(event["exc_info"])
    return event


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> Iterator[None]:
    structlog.configure(processors=[brief, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()
