"""Escapes: undone as the formats say, and every place in what comes out is a place in what went in."""

from __future__ import annotations

import json
from urllib.parse import quote_plus, unquote_plus

from hypothesis import given
from hypothesis import strategies as st

from services.calls.redaction.escapes import Unescaped, unescaped_json, unescaped_percent
from services.calls.redaction.marks import Hit

texts = st.text(st.sampled_from('ab"\\/\n\t\x00é€😀%+&=\ud800'), max_size=12)
raws = st.binary(max_size=12) | st.lists(
    st.sampled_from(
        [b"\\", b"\\u", b"00e9", b"\\n", b'"', b"\\ud83d", b"\\ude00", b"%", b"%4", b"%41", b"+", b"z"]
    )
).map(b"".join)


def outside(inner: Unescaped, start: int, end: int) -> tuple[int, int]:
    hit = inner.outside(Hit(start, end, "", "", b""), 0)
    return hit.start, hit.end


@given(texts, st.booleans())
def test_json(text: str, ascii_only: bool) -> None:
    escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogatepass")
    wanted = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert unescaped_json(escaped).text == wanted.encode("utf-8", "surrogatepass")


@given(st.text(max_size=12))
def test_percent(text: str) -> None:
    assert unescaped_percent(quote_plus(text).encode()).text == unquote_plus(quote_plus(text)).encode()


@given(
    st.text("ab", max_size=3),
    st.text(st.sampled_from('é"\\😀/'), min_size=1, max_size=3),
    st.text("ab", max_size=3),
)
def test_a_place_inside_is_a_place_outside(before: str, middle: str, after: str) -> None:
    for written, undone in (
        (lambda text: json.dumps(text)[1:-1], unescaped_json),
        (quote_plus, unescaped_percent),
    ):
        escaped = (written(before) + written(middle) + written(after)).encode()
        start = len(before.encode())
        end = start + len(middle.encode())
        first, last = outside(undone(escaped), start, end)
        assert escaped[first:last] == written(middle).encode()


@given(raws, st.data())
def test_anything_can_be_undone_and_its_places_are_in_it(raw: bytes, data: st.DataObject) -> None:
    for undone in (unescaped_json, unescaped_percent):
        inner = undone(raw)
        start = data.draw(st.integers(0, len(inner.text)))
        end = data.draw(st.integers(start, len(inner.text)))
        first, last = outside(inner, start, end)
        assert 0 <= first <= last <= len(raw)
        assert outside(inner, 0, len(inner.text)) == (0, len(raw))


def test_quotes_grow_with_each_level() -> None:
    hit = Hit(0, 1, "key", "pin", b"1", b'"')
    once = unescaped_json(b"1").outside(hit, 0)
    assert once.quote == b'\\"'
    assert unescaped_json(b"1").outside(once, 0).quote == b'\\\\\\"'
    assert unescaped_percent(b"1").outside(hit, 5) == Hit(5, 6, "key", "pin", b"1", b"%22")
