"""`audit`: filters, pages, and how entries are told."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli import exits
from tests.services.cli.a_fake_api import Asked, FakeApi, Problem

PATH = "GET /v1/teams/ops/audit"


def an_entry(number: int) -> dict[str, Any]:
    return {
        "id": f"e{number}", "at": "2026-01-31T12:00:00Z", "type": "identity.token.created", "by": "p1",
        "by_name": "ada@example.org", "about": f"t{number}", "bucket": "_",
        "data": {"id": f"t{number}", "name": "ci", "scopes": ["calls:read"], "by": "p1"},
    }  # fmt: skip


@pytest.fixture(autouse=True)
def there(api: FakeApi) -> None:
    api.answers["GET /v1/caller"] = {"team": "ops"}


def test_pages_are_read_to_the_end_even_short_ones(api: FakeApi) -> None:
    pages = {
        None: ([an_entry(1)], "c1"),
        "c1": ([], "c2"),
        "c2": ([an_entry(2)], None),
    }

    def page(asked: Asked) -> Any:
        entries, cursor = pages[asked.query.get("cursor")]
        return {"entries": entries, "next_cursor": cursor}

    api.answers[PATH] = page
    assert [entry["id"] for entry in api.run("audit", "--json").json["entries"]] == ["e1", "e2"]
    assert api.run("audit", "-n", "1", "--json").json["next_cursor"] == "c1"
    assert "--limit shows more" in api.run("audit", "-n", "1").out


def test_an_entry_is_told(api: FakeApi) -> None:
    api.answers[PATH] = {"entries": [an_entry(1)], "next_cursor": None}
    told = api.run("audit").out
    for part in ("ada@example.org", "identity.token.created", "t1", "name=ci"):
        assert part in told
    assert "by=p1" not in told


def test_what_a_terminal_would_obey_is_told_in_letters(api: FakeApi) -> None:
    entry = an_entry(1) | {"data": {"name": "\x1b[2J\x9b2J\nci"}}
    api.answers[PATH] = {"entries": [entry], "next_cursor": None}
    told = api.run("audit").out
    assert "\x1b" not in told
    assert "\x9b" not in told
    assert "u001b" in told


def test_filters(api: FakeApi) -> None:
    api.answers["GET /v1/teams/other/audit"] = {"entries": [], "next_cursor": None}
    done = api.run(
        "audit", "--team", "other", "--since", "2026-01-01T00:00Z", "--by", "ada@example.org",
        "--type", "identity.token.*", "-t", "vault.#",
    )  # fmt: skip
    assert (done.code, done.out) == (exits.OK, "Nothing was changed.\n")
    (asked,) = api.asked
    assert asked.query == {
        "since": "2026-01-01T00:00:00Z", "by": "ada@example.org", "type": "identity.token.*,vault.#",
        "limit": "50",
    }  # fmt: skip


def test_what_is_wrong(api: FakeApi) -> None:
    assert api.run("audit", "--since", "yesterday").code == exits.USAGE
    api.answers[PATH] = Problem(403, "scope-missing")
    assert api.run("audit").code == exits.NOT_ALLOWED
