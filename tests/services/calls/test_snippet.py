"""Snippets are run for real, and what arrives at a server is compared with what was captured."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.traffic_gateway import CallCaptured, Headers
from services.calls import snippet
from tests.services.calls.made import call_of

HOST = "127.0.0.1"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00" + bytes(range(256))
MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n\x00\x01\xff\r\n--b--\r\n'
)
LEFT_TO_THE_CLIENT = ("content-length", "connection", "transfer-encoding", "expect")


class Arrived(msgspec.Struct):
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Listener:
    """Keeps the last request as it came over the wire, and answers 200."""

    def __init__(self) -> None:
        self.port = 0
        self.arrived: Arrived | None = None

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")[:-2]
        method, target, _ = line.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        self.arrived = Arrived(method, target, headers, await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with _listening() as listener:
        yield listener


@asynccontextmanager
async def _listening() -> AsyncIterator[Listener]:
    listener = Listener()
    async with await asyncio.start_server(listener.on_connection, HOST, 0) as server:
        listener.port = server.sockets[0].getsockname()[1]
        yield listener


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")


@pytest.fixture(scope="session")
def requests_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which `import requests` works: the package itself where it is installed, else the copy
    that pip carries."""
    folder = tmp_path_factory.mktemp("requests")
    if importlib.util.find_spec("requests") is None:
        (folder / "requests.py").write_text("from pip._vendor.requests import *\n")
        (folder / "urllib3").mkdir()
        (folder / "urllib3" / "__init__.py").write_text("")
        (folder / "urllib3" / "util.py").write_text("from pip._vendor.urllib3.util import SKIP_HEADER\n")
    return folder


CALLS = {
    "get": call_of("GET", "http://h/things?a=1&b=%20x", (("User-Agent", "me/1"), ("Accept", "*/*"))),
    "bare get": call_of("GET", "http://h/", ()),
    "json post": call_of(
        "POST", "http://h/p", (("Content-Type", "application/json"), ("X-A", "1")), b'{"it\'s": "$(id) `id`"}'
    ),
    "form put": call_of(
        "PUT", "http://h/", (("Content-Type", "application/x-www-form-urlencoded"),), b"a=1&b=%26+x"
    ),
    "post without a type": call_of("POST", "http://h/", (), b"@/etc/hostname"),
    "empty post": call_of("POST", "http://h/", ()),
    "lines": call_of("POST", "http://h/", (("Content-Type", "text/plain"),), b"one\ntwo\r\nthree\n\n"),
    "binary": call_of("PATCH", "http://h/", (("Content-Type", "image/png"),), PNG),
    "multipart": call_of(
        "POST", "http://h/", (("Content-Type", "multipart/form-data; boundary=b"),), MULTIPART
    ),
    "long text": call_of("POST", "http://h/", (("Content-Type", "text/plain"),), b"long enough " * 20_000),
    "delete": call_of("DELETE", "http://h/x", (("Authorization", "Bearer tl_abc"),)),
    "head": call_of("HEAD", "http://h/x", ()),
    "odd method": call_of("PURGE", "http://h/x", ()),
    "hostile header": call_of(
        "GET",
        "http://h/",
        (("X-Evil", "'; touch /tmp/never; echo '"), ("X-Quote", 'a"b\\c'), ("X-Empty", "")),
    ),
    "latin-1 header": call_of("GET", "http://h/", (("X-Name", "J\xfcrgen"),)),
    "cookies": call_of("GET", "http://h/", (("Cookie", "a=1; b=2"),)),
    "brackets": call_of("GET", "http://h/a/../b/./c?x[]={1,2}", (("Accept", "a/b"),)),
    "other host": call_of("GET", "http://h/", (("Host", "virtual.example"),)),
    "hops": call_of(
        "POST",
        "http://h/",
        (("Transfer-Encoding", "chunked"), ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Expect", "x")),
        b"body",
    ),
    "repeated": call_of("GET", "http://h/", (("Accept", "a/b"), ("X-R", "1"), ("X-R", "2"))),
    "coded": call_of("GET", "http://h/", (("Accept-Encoding", "gzip, br"),)),
}


def at(call: CallCaptured, port: int) -> CallCaptured:
    """The same call, made to the listener."""
    url = call.request.url.replace("http://h", f"http://{HOST}:{port}", 1)
    return msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, url=url))


def expected(call: CallCaptured) -> list[tuple[str, str]]:
    dropped = (*LEFT_TO_THE_CLIENT, "host", "x-hop")
    return sorted(
        (name.lower(), value) for name, value in call.request.headers if name.lower() not in dropped
    )


def sent(arrived: Arrived) -> list[tuple[str, str]]:
    dropped = (*LEFT_TO_THE_CLIENT, "host")
    return sorted((name.lower(), value) for name, value in arrived.headers if name.lower() not in dropped)


def check_line_and_body(call: CallCaptured, arrived: Arrived | None, body: bytes) -> Arrived:
    assert arrived is not None
    assert arrived.method == call.request.method
    assert arrived.body == body
    return arrived


def host_of(headers: list[tuple[str, str]]) -> str:
    return next(value for name, value in headers if name.lower() == "host")


def bodies(call: CallCaptured) -> bytes:
    known = {"long text": b"long enough " * 20_000}
    return call.request.body.inline or (known["long text"] if call.request.body.captured_bytes else b"")


@pytest.mark.parametrize("name", CALLS)
async def test_curl_sends_the_same_request(name: str, listener: Listener, tmp_path: Path) -> None:
    call, body = at(CALLS[name], listener.port), bodies(CALLS[name])
    command = snippet.curl(call, body)
    script = tmp_path / "again.sh"
    script.write_text(command.replace("curl ", "curl -q --silent --show-error --max-time 10 ", 1))
    await run("bash", str(script))
    arrived = check_line_and_body(call, listener.arrived, body)
    assert arrived.target == call.request.url.removeprefix(f"http://{HOST}:{listener.port}")
    assert sent(arrived) == expected(call)
    given = [value for header, value in call.request.headers if header == "Host"]
    assert host_of(arrived.headers) == (given[0] if given else f"{HOST}:{listener.port}")


@pytest.mark.parametrize("name", CALLS)
async def test_python_sends_the_same_request(
    name: str, listener: Listener, requests_at: Path, tmp_path: Path
) -> None:
    call, body = at(CALLS[name], listener.port), bodies(CALLS[name])
    program = tmp_path / "again.py"
    program.write_text(snippet.python(call, body))
    await run("env", f"PYTHONPATH={requests_at}", "no_proxy=*", sys.executable, "-W", "ignore", str(program))
    arrived = check_line_and_body(call, listener.arrived, body)
    assert dict(sent(arrived)) == joined(expected(call))


def joined(headers: list[tuple[str, str]]) -> dict[str, str]:
    answer: dict[str, str] = {}
    for name, value in headers:
        answer[name] = f"{answer[name]}, {value}" if name in answer else value
    return answer


@given(
    value=st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40),
    body=st.binary(min_size=1, max_size=60),
)
@example(value="\x011\x7f8", body=b"\r\x1b[0m\r9")
@example(value="\r\n'1", body=b"\r'$(id)\\1")
@settings(max_examples=25, deadline=None)
def test_whatever_is_captured_stays_one_word_for_the_shell(value: str, body: bytes) -> None:
    """`curl` is replaced by a function that prints its arguments, each ended by a NUL."""
    headers: Headers = (("X-Any", value),)
    command = snippet.curl(call_of("POST", "http://h/?" + value, headers, body), body)
    show = "curl() { printf '%s\\0' \"$@\"; [[ $* == *@-* ]] && cat; return 0; }; "

    async def output() -> bytes:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", show + command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        return out

    out = asyncio.run(output())
    words = out.split(b"\0")
    assert (f"X-Any: {value}" if value.strip() else "X-Any;").encode("latin-1") in words
    assert f"http://h/?{value}".encode() in words
    piped = out.partition(b"--data-binary\0@-\0")
    assert piped[2] == body if piped[1] else body in words


@given(
    value=st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40),
    body=st.binary(min_size=1, max_size=60),
)
def test_whatever_is_captured_stays_a_literal_for_python(value: str, body: bytes) -> None:
    headers: Headers = (("X-Any", value), ("User-Agent", "a"), ("Accept-Encoding", "b"), ("Accept", "c"))
    program = ast.parse(snippet.python(call_of("POST", "http://h/?" + value, headers, body), body))
    made = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in program.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in ("headers", "body")
    }
    assert made["headers"]["X-Any"] == value
    assert made["body"] == body
    assert [type(statement).__name__ for statement in program.body] == [
        "Import",
        "Assign",
        "Assign",
        "Assign",
        "Expr",
        "Expr",
    ]


def test_a_cut_body_is_said_to_be_cut() -> None:
    call = call_of("POST", request_body=b"abc")
    cut = msgspec.structs.replace(call.request.body, size_bytes=10, truncated=True)
    call = msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, body=cut))
    for text in (snippet.curl(call, b"abc"), snippet.python(call, b"abc")):
        assert text.startswith("# The captured body is cut: 3 of 10 bytes.\n")


def test_a_body_that_is_gone_is_said_to_be_gone() -> None:
    call = call_of("POST", request_body=b"abc")
    assert snippet.curl(call, None).startswith("# The body (3 bytes) is not at hand.\n")
