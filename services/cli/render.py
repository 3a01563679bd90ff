"""How calls look to a person: colours, times, sizes, and one line or one page for each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

WIDE = 200  # columns, when the output is no terminal: then nothing is cut short

# C0 but for newline and tab, DEL, and C1, which some terminals obey like ESC.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_STATUS_STYLES = {1: "cyan", 2: "green", 3: "cyan", 4: "yellow", 5: "red"}


class Harmless(Console):
    """A console that shows what came from outside without letting a terminal obey it: control characters in
    what is printed stand there as pictures of themselves."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(segment.text.translate(_PICTURES), segment.style)


def console() -> Console:
    """Standard output; wide and plain when it is no terminal."""
    found = Harmless(highlight=False)
    return found if found.is_terminal else Harmless(highlight=False, width=WIDE)


def plain_table(*columns: str) -> Table:
    """A table without lines, its headings dim."""
    return Table(*columns, box=None, pad_edge=False, header_style="dim")


def ago(text: str | None, *, now: datetime, never: str = "never") -> str:
    """A time of the API as people say it: `3 min ago`, `in 12 d`."""
    if text is None:
        return never
    away_s = (datetime.fromisoformat(text) - now).total_seconds()
    unit, unit_s = next((each for each in _UNITS if abs(away_s) >= each[1]), _UNITS[-1])
    amount = f"{abs(away_s) / unit_s:.0f} {unit}"
    return f"in {amount}" if away_s > 0 else f"{amount} ago"


def size(count_bytes: int) -> str:
    """`812 B`, `3.4 kB`, `1.2 MB`."""
    if count_bytes < 1000:
        return f"{count_bytes} B"
    amount = float(count_bytes)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000 or unit == "GB":
            break
    return f"{amount:.1f} {unit}"


def duration(duration_ms: float) -> str:
    """`0.8 ms`, `12 ms`, `3.4 s`."""
    if duration_ms < 10:
        return f"{duration_ms:.1f} ms"
    if duration_ms < 1000:
        return f"{duration_ms:.0f} ms"
    return f"{duration_ms / 1000:.1f} s"


def when(text: str, *, today: datetime) -> str:
    """A time of the API in the local zone; the day only when it is another one."""
    local = datetime.fromisoformat(text).astimezone()
    if local.date() == today.astimezone().date():
        return local.strftime("%H:%M:%S")
    return local.strftime("%Y-%m-%d %H:%M:%S")


def status(call: dict[str, Any]) -> Text:
    """The status the API called gave, else the slug of what went wrong."""
    code = call.get("status")
    if code is None:
        return Text(str(call.get("error") or "no response"), style="bold red")
    mark = "!" if call.get("error") else ""
    return Text(f"{code}{mark}", style=_STATUS_STYLES.get(code // 100, ""))


def short_id(id: str, *, whole: bool) -> str:
    return id if whole else f"…{id[-8:]}"


def table(calls: list[dict[str, Any]], *, today: datetime, whole_ids: bool) -> Table:
    """A row for each call of the API's list."""
    found = Table(box=None, pad_edge=False, header_style="dim")
    found.add_column("time", no_wrap=True)
    found.add_column("method", no_wrap=True)
    found.add_column("status", no_wrap=True)
    found.add_column("host and path", overflow="ellipsis", no_wrap=True, ratio=1)
    found.add_column("took", justify="right", no_wrap=True)
    found.add_column("size", justify="right", no_wrap=True)
    found.add_column("id", no_wrap=True)
    for call in calls:
        found.add_row(
            when(call["started_at"], today=today),
            Text(call["method"], style="bold"),
            status(call),
            address(call),
            duration(call["duration_ms"]),
            size(call["response_bytes"]),
            Text(short_id(call["id"], whole=whole_ids), style="dim"),
        )
    return found


def line(call: dict[str, Any], *, today: datetime, whole_ids: bool) -> Text:
    """One call as one line, for a list that grows."""
    found = Text(no_wrap=True, overflow="ellipsis")
    found.append(when(call["started_at"], today=today) + "  ")
    found.append(f"{call['method']:<7}", style="bold")
    found.append_text(status(call))
    found.append("  ")
    found.append_text(address(call))
    found.append(f"  {duration(call['duration_ms'])}  {size(call['response_bytes'])}  ", style="dim")
    found.append(short_id(call["id"], whole=whole_ids), style="dim")
    return found


def address(call: dict[str, Any]) -> Text:
    found = Text(call["host"], style="dim")
    found.append(call["path"], style="default")
    if call["query"]:
        found.append(f"?{call['query'].removeprefix('?')}", style="dim")
    return found


def headers(pairs: list[list[str]]) -> Text:
    found = Text()
    for name, value in pairs:
        found.append(f"{name}: ", style="cyan")
        found.append(f"{value}\n")
    return found


def plain(text: object) -> str:
    """Text that came from outside, so that it cannot be taken for markup."""
    return escape(str(text))
