"""What strangers sent is shown, and obeyed by no terminal."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from services.cli.render import Harmless

NASTY = "\x1b]0;owned\x07 \x1b[2J \x9b31m \x7f \r over"


@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_of_what_is_shown_are_pictures(terminal: bool) -> None:
    table = Table("heading")
    table.add_row(Text(f"cell {NASTY}", style="bold red"))
    for shown in (Text(f"kept\tas\nit is {NASTY}"), table):
        out = io.StringIO()
        Harmless(file=out, width=120, force_terminal=terminal, color_system=None).print(shown)
        said = out.getvalue()
        assert not {char for char in said if not char.isprintable()} - {"\n"}
        assert "␛]0;owned" in said


def test_styles_are_styles_all_the_same() -> None:
    out = io.StringIO()
    Harmless(file=out, width=80, force_terminal=True, color_system="standard").print(Text("x", style="red"))
    assert "\x1b[31mx\x1b[0m" in out.getvalue()
