"""Writes `docs/errors.md` from the errors themselves: `python -m deploy.errors_doc`, called by `make docs`.

Every exception class with a `slug`, a `meaning` and a `remedy`, and every `ProblemKind` of an edge, is found
by importing all modules, so that a new error is documented by existing. With `--check` nothing is written,
and 1 is returned when the file is not up to date.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import bus
import services
from services.chassis.web import ProblemKind

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
HEAD = """\
# Errors

Every error has a slug, which stays the same in all versions that it exists in. The HTTP API and the gateway
give it as the end of `type` in their problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)),
`urn:trunkline:error:<slug>`; the command line prints it, and ends with the exit code given here (those of
`sysexits.h`; 0 is success). This page is generated: `make docs`.
"""


class Entry(NamedTuple):
    """What the page says about a slug, as it can be met in one way."""

    slug: str
    met_as: str
    meaning: str
    remedy: str


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it."""
    page = render()
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text() == page:
            return 0
        print(f"{PAGE.name} is not up to date: run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(page)
    return 0


def render() -> str:
    """The whole page. A slug that can be met in several ways has one section that says all of them."""
    import_everything()
    entries = sorted({*_errors(), *_problems()})
    sections = [HEAD]
    for index, entry in enumerate(entries):
        if index == 0 or entries[index - 1].slug != entry.slug:
            sections.append(f"## {entry.slug}\n")
        sections.append(f"*{entry.met_as}.* {entry.meaning}\n\n**What to do:** {entry.remedy}\n")
    return "\n".join(sections)


def import_everything() -> None:
    """Import all modules of `bus` and `services`, so that their errors exist."""
    for package in (bus, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _errors() -> Iterator[Entry]:
    classes = {value for value in _named_in_modules() if isinstance(value, type)}
    for error in classes:
        if issubclass(error, Exception) and {"slug", "meaning", "remedy"} <= vars(error).keys():
            said = f"Exit code {getattr(error, 'exit_code', 70)}"
            yield Entry(error.slug, said, error.meaning, error.remedy)  # type: ignore[attr-defined]


def _problems() -> Iterator[Entry]:
    for kind in {value for value in _named_in_modules() if isinstance(value, ProblemKind)}:
        yield Entry(kind.slug, f"HTTP {kind.status}: {kind.title}", kind.meaning, kind.remedy)


def _named_in_modules() -> Iterator[object]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("bus", "services"):
            for value in vars(module).values():
                if isinstance(value, type | ProblemKind):
                    yield value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
