"""What the guides name is there: pages and headings that they link to, files, settings, commands, errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from deploy import errors_doc
from services import catalog
from services.chassis.config import CLIENT_KEYS, PREFIX, TEST_PREFIX, Settings
from services.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
HISTORY = "CHANGELOG.md"  # may name what is gone
MISSPELT = "TRUNKLINE_GATEWAY_PRT"  # shown being refused


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def anchors(text: str) -> set[str]:
    """The headings of a page as links name them: lower case, blanks as hyphens, punctuation dropped."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing(found: Iterable[str], known: Iterable[str]) -> list[str]:
    return sorted(set(found) - set(known))


def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked.read_text()), target


def test_files_that_are_named_exist(page: Path) -> None:
    if page.name == HISTORY:
        return
    places = r"(?:bus|schemas|services|deploy|tests|bench|docs)"
    for path in re.findall(rf"`({places}/[\w./-]*)`", page.read_text()):
        if "tally" not in path:  # the guide's example of a new service
            assert (ROOT / path).exists(), path


def test_settings_that_are_named_exist(page: Path) -> None:
    structs: dict[str, type[msgspec.Struct]] = {"": Settings, **catalog.config_types()}
    known = {
        f"{PREFIX}{room + '_' if room else ''}{name}".upper()
        for room, struct in structs.items()
        for name in struct.__struct_fields__
    }
    known |= {PREFIX + key for key in CLIENT_KEYS} | {MISSPELT}
    named = re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]\b", page.read_text())
    assert not missing((name for name in named if not name.startswith(TEST_PREFIX[:-1])), known)


def test_commands_that_are_named_exist(page: Path) -> None:
    if page.name == HISTORY:
        return
    text = page.read_text()
    named = re.findall(r"(?:\$ |\$\(|`)trunkline ([a-z]+)", text)
    assert not missing(named, {*COMMANDS, *(verb.name for verb in catalog.commands())})
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert not missing(re.findall(r"(?:`|^\s*)make ([a-z0-9-]+)", text, re.MULTILINE), targets)


def test_error_slugs_that_are_named_exist(page: Path) -> None:
    known = re.findall(r"^## (.+)$", errors_doc.render(), re.MULTILINE)
    assert not missing(re.findall(r"urn:trunkline:error:([a-z-]+)", page.read_text()), known)
