"""What calls are made of, as `trunkline calls --facets` shows it."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

BAR = 20  # columns of the longest bar

FIELDS = (("host", "hosts"), ("method", "methods"), ("status", "statuses"), ("template", "templates"))
"""The query's word for each field, and the API's name for its counts."""


def table(facets: dict[str, Any]) -> Table:
    """A row for each value; its first two columns, joined by a colon, are a query."""
    found = Table(box=None, pad_edge=False, header_style="dim")
    found.add_column("field", no_wrap=True, style="dim")
    found.add_column("value", overflow="fold")
    found.add_column("calls", justify="right", no_wrap=True)
    found.add_column("share", justify="right", no_wrap=True, style="dim")
    found.add_column("", no_wrap=True, style="cyan")
    counted = max(1, facets["counted"])
    for field, name in FIELDS:
        for at, each in enumerate(facets[name]):
            share = each["count"] / counted
            found.add_row(
                field if at == 0 else "",
                Text(each["value"] or '""'),
                str(each["count"]),
                f"{share:.0%}",
                "█" * max(1, round(share * BAR)),
            )
    return found
