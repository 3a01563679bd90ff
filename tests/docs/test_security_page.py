"""Every test that a page names as its proof exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
NAMED = re.compile(r"`(?:(services/[\w/]+\.py)::)?(test_\w+)`")


def named_on(page: str) -> list[tuple[str, str]]:
    return NAMED.findall((ROOT / "docs" / page).read_text())


def test_tests_that_the_security_page_names_exist() -> None:
    named = named_on("security.md")
    assert len(named) > 50
    for file, test in named:
        assert test in DEFINED.findall((ROOT / "tests" / file).read_text()), f"{file} has no {test}"


def test_tests_that_the_gateway_page_names_exist() -> None:
    folder = ROOT / "tests" / "services" / "traffic_gateway"
    defined = {test for file in folder.glob("test_*.py") for test in DEFINED.findall(file.read_text())}
    named = named_on("gateway.md")
    assert len(named) > 30
    assert {test for _, test in named} <= defined
