"""What `docs/query.md` says is read in a way is read so."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.calls.path_template import path_template
from services.calls.query import FIELDS, QueryInvalid, Text, parse, within

PAGE = Path(__file__).parents[2].joinpath("docs", "query.md").read_text()
NOW = datetime(2026, 1, 1, tzinfo=UTC)

_CODE = re.compile(r"`([^`]+)`")


def _rows(head: str) -> list[list[list[str]]]:
    """Of the table below `head`: the code in each cell of each row."""
    table = PAGE.partition(f"\n{head}\n")[2].partition("\n\n")[0]
    return [[_CODE.findall(cell) for cell in row.strip("|").split(" | ")] for row in table.splitlines()[1:]]


_terms = [term for row in _rows("| | |") for term in row[0]]


@pytest.mark.parametrize("term", _terms)
def test_every_term_of_the_table_is_one(term: str) -> None:
    assert len(list(within(parse(term, NOW)))) == 1


def test_the_table_has_every_field() -> None:
    assert {term.partition(":")[0].partition(".")[0] for term in _terms if ":" in term} == set(FIELDS)


@pytest.mark.parametrize(("typed", "read"), [(row[0][0], row[1][0]) for row in _rows("| typed | read as |")])
def test_what_is_typed_is_read_as_the_page_says(typed: str, read: str) -> None:
    assert str(parse(typed, NOW)) == read
    assert parse(read, NOW) == parse(typed, NOW)


@pytest.mark.parametrize(
    ("path", "template"), [(row[0][0], row[1][0]) for row in _rows("| path | template |")]
)
def test_templates_are_what_the_page_says(path: str, template: str) -> None:
    assert path_template(path) == template
    assert parse(f"template:{template}", NOW) == Text("template", (template,))


def test_the_refusal_is_the_one_that_is_shown() -> None:
    shown = PAGE.partition("trunkline: q, ")[2].partition("\n  status:5xx")[0].replace("\n", " ")
    with pytest.raises(QueryInvalid) as caught:
        parse("status:5xx statsu:4xx", NOW)
    assert str(caught.value) == shown


@pytest.mark.parametrize("query", re.findall(r"trunkline (?:calls|export -) '([^']+)'", PAGE))
def test_examples_are_read(query: str) -> None:
    if "statsu" not in query:
        parse(query, NOW)
