"""`trunkline trace`: causes as a tree, whatever order and whatever holes they come in."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from services.cli.trace import INDENTED, _drawn


def event(
    id: str, cause: str | None = None, *, at: str = "00.000000", type: str = "shop.order.placed"
) -> dict[str, Any]:
    return {
        "id": id,
        "source": "shop",
        "type": type,
        "subject": f"about-{id}",
        "time": f"2026-01-01T12:00:{at}Z",
        "key": "eu",
        "causationid": cause,
        "correlationid": None if cause is None else "root",
    }


def drawn(events: list[dict[str, Any]], *, marked: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    for line in _drawn(events, marked=marked, whole_ids=True):
        console.print(line)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_causes_and_times() -> None:
    lines = drawn(
        [
            event("root"),
            event("a", "root", at="00.004200", type="shop.order.paid"),
            event("b", "root", at="01.500000", type="shop.order.sent"),
            event("a1", "a", at="00.120000", type="bank.sum.booked"),
        ]
    )
    assert lines[0].endswith(".000  shop.order.placed  shop  about-root  in eu  root")
    assert lines[1:] == [
        "├── +4.2 ms  shop.order.paid  shop  about-a  in eu  a",
        "│   └── +120 ms  bank.sum.booked  shop  about-a1  in eu  a1",
        "└── +1.5 s  shop.order.sent  shop  about-b  in eu  b",
    ]


def test_a_cause_that_is_hidden_or_erased_leaves_a_tree_of_its_own() -> None:
    lines = drawn([event("root"), event("b", "gone", at="02.000000"), event("b1", "b", at="02.000001")])
    assert [line.split()[-1] for line in lines] == ["root", "b", "b1"]
    assert lines[2].startswith("└── +2.0 s")


def test_events_that_name_each_other_or_themselves_end() -> None:
    assert drawn([event("a", "a")])[0].endswith("a")
    assert len(drawn([event("root"), event("x", "root"), event("x", "root")])) == 2
    assert [line.split()[-1] for line in drawn([event("a", "b"), event("b", "a")])] == ["a", "b"]


def test_a_chain_longer_than_the_stack_is_deep() -> None:
    chain = [event("0"), *(event(str(number), str(number - 1)) for number in range(1, 300))]
    lines = drawn(chain)
    assert len(lines) == 300
    assert lines[INDENTED].strip().startswith("└── +0.0 ms")
    assert lines[-1].strip().startswith("└── (299) +0.0 ms")
    assert lines[-1].endswith("299")


def test_what_was_asked_for_stands_out() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    for line in _drawn([event("root"), event("a", "root")], marked="about-a", whole_ids=True):
        console.print(line)
    assert isinstance(console.file, io.StringIO)
    root, a = console.file.getvalue().splitlines()
    assert "\x1b[1;7m" not in root
    assert "\x1b[1;7m" in a
