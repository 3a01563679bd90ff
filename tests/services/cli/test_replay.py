"""What is sent again, and what counts as a difference between two answers."""

from __future__ import annotations

from services.cli.replay import Answer, compare, headers_to_send, way

CALL = {"bucket": "7xzcnsgbwox2", "request": {"url": "https://api.example.com:8443/a%20b?x=1&y"}}


def answer(status: int = 200, text: str | None = "a\nb\n", **headers: str) -> Answer:
    pairs = [[name.replace("_", "-"), value] for name, value in headers.items()]
    body = text.encode() if text is not None else b"\x00\x01"
    return Answer(status, pairs, body, text)


def test_the_same_answer_is_the_same() -> None:
    assert compare(answer(etag="1", date="then"), answer(ETag="1", Date="now")).same


def test_each_kind_of_difference_is_seen() -> None:
    different = compare(answer(200, etag="1", gone="x"), answer(404, text="a\nc\n", etag="2", fresh="y"))
    assert different.status == (200, 404)
    assert different.headers == [("etag", "1", "2"), ("gone", "x", None), ("fresh", None, "y")]
    assert [line for line in different.body if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "-b",
        "+c",
    ]


def test_repeated_headers_count_together() -> None:
    two = Answer(200, [["Vary", "a"], ["vary", "b"]], b"", "")
    assert compare(two, answer(text="", vary="a, b")).same
    assert not compare(two, answer(text="", vary="a")).same


def test_binary_bodies_are_compared_as_bytes() -> None:
    before = Answer(200, [], b"\x00\x01", None)
    assert compare(before, Answer(200, [], b"\x00\x01", None)).same
    assert compare(before, Answer(200, [], b"\x00", None)).body == [
        "the bodies differ: 2 bytes before, 1 now"
    ]


def test_line_ends_are_a_difference() -> None:
    assert compare(answer(text="a\r\n"), answer(text="a\n")).body


def test_headers_of_one_hop_stay_behind() -> None:
    captured = [
        ["Host", "api.example.com"],
        ["Connection", "keep-alive, X-Hop"],
        ["X-Hop", "1"],
        ["Transfer-Encoding", "chunked"],
        ["Content-Length", "99"],
        ["Cookie", "a=1"],
        ["x-repeated", "1"],
        ["X-Repeated", "2"],
    ]
    assert headers_to_send(captured, "gw:7080", b"abc", "POST") == [
        (b"Host", b"gw:7080"),
        (b"Cookie", b"a=1"),
        (b"x-repeated", b"1"),
        (b"X-Repeated", b"2"),
        (b"Content-Length", b"3"),
    ]
    assert (b"Content-Length", b"0") in headers_to_send([], "h", b"", "POST")
    assert headers_to_send([], "h", b"", "GET") == [(b"Host", b"h")]


def test_the_way_through_the_gateway_and_around_it() -> None:
    origin, target, host = way(CALL, "http://127.0.0.1:7080")
    assert (origin.scheme, origin.host, origin.port) == ("http", "127.0.0.1", 7080)
    assert target == b"/7xzcnsgbwox2/https://api.example.com:8443/a%20b?x=1&y"
    assert host == "127.0.0.1:7080"
    origin, target, host = way(CALL, None)
    assert (origin.scheme, origin.host, origin.port) == ("https", "api.example.com", 8443)
    assert (target, host) == (b"/a%20b?x=1&y", "api.example.com:8443")
