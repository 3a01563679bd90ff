"""`python -m bench redaction`: what redaction costs, in one process and without servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from bench.redaction.one_by_one import expressions, one_by_one
from bench.redaction.traffic import (
    JSON_HEADERS,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    URL,
    hostile,
    orders,
)
from bench.report import Report, middle
from schemas.identity import Redaction
from services.calls.redaction.marks import Tally
from services.calls.redaction.redactor import Redactor

KIB = 1024
MIB = 1024 * KIB
ROUND_S = 0.15
ROUNDS = 9
TARGET_US = 60


async def run() -> None:
    redactor = Redactor(Redaction(), bytes(32))
    strict = Redactor(Redaction(mode="strict"), bytes(32))
    rules = Redactor(
        Redaction(headers=("X-Customer",), paths=("$..phone", "$.items[*].sku"), patterns=(r"\bcust-\d+\b",)),
        bytes(32),
    )
    separate = one_by_one()
    clean, secret = orders(KIB, secrets=False), orders(KIB, secrets=True)
    report = Report(
        "redaction",
        "Redaction: microseconds",
        "python -m bench redaction",
        ["", "bytes", "fastest", "median"],
    )

    def add(name: str, size_bytes: int, once: Callable[[], object]) -> None:
        report.add(name, size_bytes, *_measured(once))

    add("JSON, nothing to mask", len(clean), lambda: _body(redactor, clean))
    add("JSON, five secrets", len(secret), lambda: _body(redactor, secret))
    add("the same, strict", len(secret), lambda: _body(strict, secret))
    add("the same, a bucket's rules beside", len(secret), lambda: _body(rules, secret))
    add(f"the same, {len(expressions())} separate expressions", len(secret), lambda: separate(secret))
    add("whole call: URL, 16 headers, 2 bodies", 2 * len(secret), lambda: _call(redactor, secret))
    for name, body in {
        "JSON, nothing to mask": orders(MIB, secrets=False),
        "JSON, five secrets": orders(MIB, secrets=True),
        **hostile(MIB),
    }.items():
        add(name, len(body), partial(_body, redactor, body))
    report.notes = [
        f"Target: a 1 KiB JSON body in {TARGET_US} us. Fastest and median of {ROUNDS} rounds.",
        "The last three are made to be slow: what they cost grows with their length, not faster.",
    ]
    report.publish()


def _measured(once: Callable[[], object]) -> tuple[float, float]:
    """Microseconds, the fastest round's and the median's."""
    began = time.perf_counter()
    once()
    count = max(1, min(5000, int(ROUND_S / (time.perf_counter() - began))))
    rounds = []
    for _ in range(ROUNDS if count > 1 else 3):
        began = time.perf_counter()
        for _ in range(count):
            once()
        rounds.append((time.perf_counter() - began) / count * 1e6)
    return min(rounds), middle(rounds)


def _body(redactor: Redactor, body: bytes) -> bytes:
    return redactor.body(body, JSON_HEADERS, "request", Tally()).data


def _call(redactor: Redactor, body: bytes) -> object:
    tally = Tally()
    redactor.url(URL, tally)
    redactor.headers(REQUEST_HEADERS, "request", tally)
    redactor.body(body, REQUEST_HEADERS, "request", tally)
    redactor.headers(RESPONSE_HEADERS, "response", tally)
    redactor.body(body, RESPONSE_HEADERS, "response", tally)
    return tally.masked()
