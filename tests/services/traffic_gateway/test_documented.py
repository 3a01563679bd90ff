"""`docs/gateway.md` names the tests that hold the gateway to what it says: they exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = Path(__file__).resolve().parents[3] / "docs" / "gateway.md"


def test_every_row_names_tests_that_exist() -> None:
    defined = {
        name
        for path in HERE.glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    page = PAGE.read_text()
    table = page[page.index("## What is relayed exactly") : page.index("## Which targets are called")]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rpartition(" | ")[2])
        assert named, f"no test is named: {row}"
        assert set(named) <= defined, f"{set(named) - defined} are no tests"


def test_files_named_exist() -> None:
    assert all((HERE / name).exists() for name in re.findall(r"`(test_\w+\.py)`", PAGE.read_text()))
