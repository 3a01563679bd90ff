"""How a command ends: every exit code in one place, and errors in one line with what to do about them.

0    done, and the answer is yes
1    done, and the answer is no: `replay` got another answer, `status` found a service that is not well
64   the command line itself is wrong
65   what was asked for is not valid, or was refused
66   what was named does not exist (a call, a bucket)
69   the API cannot be reached: nothing runs there
70   a fault in Trunkline; the only case with a traceback, and that only with TRUNKLINE_LOG_LEVEL=debug
73   the output cannot be written
75   something is down at the moment: try again
77   the token is missing, wrong, or does not allow this
78   the configuration is wrong, or a port, a folder or the bus cannot be used
130  stopped by Ctrl-C (128 + the signal's number)
"""

from __future__ import annotations

import json
import sys
from typing import TextIO

OK = 0
NO = 1
USAGE = 64
INVALID = 65
NOT_THERE = 66
UNREACHABLE = 69
FAULT = 70
CANNOT_WRITE = 73
DOWN = 75
NOT_ALLOWED = 77
CONFIG = 78
INTERRUPTED = 130


class Trouble(Exception):
    """What keeps a command from going on, told to the person who gave it. remedy: what to do, one line."""

    def __init__(
        self, message: str, *, remedy: str = "", exit_code: int = FAULT, slug: str = "command-failed"
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.exit_code = exit_code
        self.slug = slug


def as_trouble(error: BaseException) -> Trouble:
    """Any error as Trouble. Those of Trunkline's own trees carry slug, remedy and exit code."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, BaseExceptionGroup):
        return as_trouble(error.exceptions[0])
    slug = getattr(error, "slug", None)
    if isinstance(slug, str):
        return Trouble(
            str(error),
            remedy=getattr(error, "remedy", ""),
            exit_code=getattr(error, "exit_code", FAULT),
            slug=slug,
        )
    return Trouble(
        f"a fault in Trunkline: {type(error).__name__}: {error}",
        remedy="Run it again with TRUNKLINE_LOG_LEVEL=debug and report what it says.",
    )


def report(trouble: Trouble, *, as_json: bool, stream: TextIO | None = None) -> int:
    """Say what is wrong on standard error and answer the exit code."""
    stream = sys.stderr if stream is None else stream
    if as_json:
        document = {
            "slug": trouble.slug,
            "message": str(trouble),
            "remedy": trouble.remedy,
            "exit_code": trouble.exit_code,
        }
        print(json.dumps({"error": document}), file=stream)
        return trouble.exit_code
    red, plain = ("\x1b[1;31m", "\x1b[0m") if stream.isatty() else ("", "")
    print(f"{red}trunkline:{plain} {trouble}", file=stream)
    if trouble.remedy:
        print("  " + trouble.remedy.replace("\n", "\n  "), file=stream)
    return trouble.exit_code
