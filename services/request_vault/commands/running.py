"""What all verbs share: the log goes to standard error, the loop is the services' own."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from services.chassis import telemetry
from services.chassis.config import Loaded
from services.chassis.host import run_loop

T = TypeVar("T")


def run(loaded: Loaded, main: Coroutine[Any, Any, T]) -> T:
    """Standard output is the answer's; what the engine has to say of its work is not part of it."""
    settings = loaded.settings
    form = settings.log_format
    if form == "auto":
        form = "pretty" if sys.stderr.isatty() else "json"
    telemetry.configure(form, "warning" if settings.log_level == "auto" else settings.log_level)
    return run_loop(main)
