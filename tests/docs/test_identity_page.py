"""The table of scopes in docs/identity.md says what the roles are given."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.operation import ROLE_SCOPES, SCOPES

PAGE = Path(__file__).parents[2] / "docs" / "identity.md"
ROW = re.compile(r"^\| `([a-z:]+)` \|.*\| (x?) ?\| (x?) ?\| (x?) ?\|$", re.MULTILINE)


def test_every_scope_stands_in_the_table_with_the_roles_that_have_it() -> None:
    told = {scope: marks for scope, *marks in ROW.findall(PAGE.read_text())}
    assert set(told) == SCOPES
    for scope, marks in told.items():
        have = [scope in ROLE_SCOPES[role] for role in ("viewer", "editor", "owner")]
        assert [mark == "x" for mark in marks] == have, scope
