"""What a verb says: its answer on standard output, how far it is on standard error, for people at a
terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Advance = Callable[[int], None]


class Teller:
    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Advance]:
        """What is being done, and of how much. Inside, say each time how much more of it is done."""
        if self._as_json or not sys.stderr.isatty():
            yield lambda more: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Left(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task(what, total=total)
            yield lambda more: shown.advance(task, more)

    def answer(self, document: Mapping[str, Any], *lines: str) -> None:
        """The document for programs, the lines for people."""
        if self._as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def note(self, line: str) -> None:
        """Beside the answer, for people."""
        if not self._as_json:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def size(count_bytes: int) -> str:
    """`812 B`, `3.4 kB`, `1.2 GB`."""
    amount = float(count_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{count_bytes} B" if count_bytes < 1000 else f"{amount:.1f} {unit}"


def first_of(problems: list[str]) -> str:
    """The first, and how many more there are."""
    more = len(problems) - 1
    return problems[0] + (f" (and {counted(more, 'more problem')})" if more else "")


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 event`, `1 200 events`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", " ")
