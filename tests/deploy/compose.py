"""deploy/compose.yaml as Docker Compose sees it: merge keys applied, variables put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
FILE = FOLDER / "compose.yaml"
EXAMPLE = FOLDER / "compose.env.example"

_INNERMOST = re.compile(r"\$\{([A-Za-z_]+)(?:(:[-?])([^${}]*))?\}")


class VariableMissing(Exception):
    """`${NAME:?why}` without a value."""


def read() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def resolved(variables: Mapping[str, str]) -> dict[str, Any]:
    """With `${NAME}`, `${NAME:-default}` and `${NAME:?error}` replaced, also inside one another."""
    found: dict[str, Any] = _resolve(read(), variables)
    return found


def variables_of(text: str) -> set[str]:
    """The names of the variables that a text uses."""
    return set(re.findall(r"\$\{([A-Za-z_]+)", text))


def example() -> dict[str, str]:
    """compose.env.example: what it sets, and what it shows in comments."""
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def _resolve(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {name: _resolve(each, variables) for name, each in node.items()}
    if isinstance(node, list):
        return [_resolve(each, variables) for each in node]
    if isinstance(node, str):
        while (found := _INNERMOST.search(node)) is not None:
            node = node[: found.start()] + _value(found, variables) + node[found.end() :]
    return node


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, operator, rest = found.groups()
    value = variables.get(name, "")
    if value or operator is None:
        return value
    if operator == ":?":
        raise VariableMissing(f"{name}: {rest}")
    return str(rest)
