"""No input takes longer than in proportion to its length: counted in calls, not in seconds. What a regular
expression does inside is no call, so the corpus is also long enough that anything quadratic in it would not
end before the test's time is up.
"""

from __future__ import annotations

import gc
import sys
from types import FrameType
from typing import Any

import pytest

from services.calls.redaction.marks import Tally
from services.calls.redaction.redactor import Redactor
from tests.services.calls.redaction.redacting import FORM, JSON, redactor, typed

LABELS = (JSON, FORM, "text/plain", "multipart/form-data; boundary=x")
UNITS = [
    *(
        b'"',
        b"\\",
        b'\\"',
        b"\\u",
        b"\\u0041",
        b"\\\\",
        b'"\\',
        b"[",
        b"{",
        b'{"a":',
        b'["',
        b'":"',
        b'"a":"b",',
    ),
    *(
        b'{"password":',
        b'{"password":[',
        b'"password":"',
        b'"token":"a",',
        b'{"a":{"b":',
        b'[{"x":1},',
        b"1,",
    ),
    *(
        b"eyJ",
        b"-eyJ",
        b"eyJaaaaaa.",
        b".eyJ",
        b"sk-",
        b"-sk-",
        b"SG.aaaaaaaaaaaaaaaa",
        b"ghp_",
        b"AKIA",
        b":AA",
    ),
    *(
        b"12345678:AA",
        b"Bearer ",
        b"Basic ",
        b"Basic YTpi",
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN ",
        b"----",
    ),
    *(
        b"4111",
        b"4111 ",
        b"4111 1111 ",
        b"4111111111111111,",
        b"4111111111111111/",
        b"://",
        b"://a@",
        b"a://u:p@h/",
    ),
    *(b"?a=", b"?a", b"&token=", b"#", b";", b"=", b"&", b"%", b"%7B", b"%22", b"+", b"?a=%7B%22", b"?a=+b&"),
    *(
        b'token="',
        b"token='",
        b'token=\\"',
        b'="',
        b":  ",
        b"data: {",
        b"data:{\n",
        b"\ndata: [",
        b"--x\r\n",
        b"\n--x",
    ),
    *(
        b"--x\r\n\r\n",
        b"name=",
        b'name="',
        b"\r\n\r\n",
        b"\n",
        b" ",
        b"\x00",
        b"\xff",
        b"a+",
        b"aab",
        b"[redacted]",
    ),
    *(b"[redacted:key:00000000] a", b"%5Bredacted%5D"),
]


@pytest.fixture(scope="module")
def redactors() -> list[Redactor]:
    rules = redactor(paths=("$..a.b", "$[*]..x", "$..['a',0]"), patterns=("a.*b|a", r"(\w+\s?)+x"))
    return [redactor(), redactor("strict"), rules]


def calls_for(by: Redactor, data: bytes, label: str) -> int:
    count = 0

    def counted(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    by.body(data[:512], typed(label), "request", Tally())  # what is made once is made by now
    gc.disable()  # what it would finalize is not this call's
    sys.setprofile(counted)
    try:
        by.body(data, typed(label), "request", Tally())
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_twice_the_length_takes_twice_the_calls(unit: bytes, redactors: list[Redactor]) -> None:
    for before in (b"", b'{"a":"', b'{"a":'):
        short = before + unit * (1024 // len(unit))
        long = before + unit * (2 * (1024 // len(unit)))
        for label in LABELS:
            for by in redactors:
                assert calls_for(by, long, label) <= 2.4 * calls_for(by, short, label) + 200, label


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_long_ones_end(unit: bytes, redactors: list[Redactor]) -> None:
    data = unit * (128 * 1024 // len(unit))
    for label in LABELS:
        redactors[0].body(data, typed(label), "request", Tally())


def test_deep_json_ends(redactors: list[Redactor]) -> None:
    for by in redactors:
        for text in (
            b"[" * 20_000,
            b'{"a":' * 20_000,
            b'{"token":' * 20_000 + b"1",
            b"[" * 20_000 + b"]" * 20_000,
        ):
            by.body(text, typed(JSON), "request", Tally())


@pytest.mark.timeout(6)
@pytest.mark.parametrize("blank", [b" ", b" \t", b"-", b"\r"])
def test_a_boundary_that_never_ends(blank: bytes) -> None:
    body = b"--" + blank * (4 * 1024 * 1024 // len(blank))
    redactor().body(body, typed("multipart/form-data"), "request", Tally())
