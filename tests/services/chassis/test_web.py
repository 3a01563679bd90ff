"""The app every edge stands on, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest
import structlog
from aiohttp import web

from bus.clock import SystemClock
from bus.ids import Ids
from services.chassis.web import (
    CLOSING,
    CannotListen,
    PortInUse,
    Problem,
    ProblemKind,
    listen,
    make_app,
    problem,
)

HOST = "127.0.0.1"
CLOCK = SystemClock()
TEAPOT = ProblemKind("teapot", 418, "A teapot", "It is a teapot.", "Ask a kettle.")


class Spilled(Exception):
    pass


def make(max_body_bytes: int = 1000) -> web.Application:
    def translate(error: Exception) -> Problem | None:
        return TEAPOT.of(f"spilled: {error}") if isinstance(error, Spilled) else None

    app = make_app("test", clock=CLOCK, ids=Ids(CLOCK), max_body_bytes=max_body_bytes, translate=translate)

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def teapot(request: web.Request) -> web.Response:
        raise TEAPOT.of("short and stout", headers={"Retry-After": "3"}, field="handle")

    async def spill(request: web.Request) -> web.Response:
        raise Spilled("milk")

    async def crash(request: web.Request) -> web.Response:
        raise RuntimeError("secret details")

    async def plain(request: web.Request) -> web.Response:
        return problem(409, "taken", "Taken", "it is taken", by="somebody")

    app.router.add_post("/echo", echo)
    app.router.add_get("/teapot", teapot)
    app.router.add_get("/spill", spill)
    app.router.add_get("/crash", crash)
    app.router.add_get("/plain", plain)
    return app


@asynccontextmanager
async def client_of(app: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        listen(app, HOST, 0, False) as port,
        aiohttp.ClientSession(f"http://{HOST}:{port}") as client,
    ):
        yield client


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with closing(socket.create_server((HOST, 0))) as other:
        yield other.getsockname()[1]


async def test_a_request_id_is_kept_or_made() -> None:
    async with client_of(make()) as client:
        async with client.post("/echo", headers={"X-Request-Id": "mine-1"}) as answer:
            assert answer.headers["X-Request-Id"] == "mine-1"
        for unfit in ("", "a b", "x" * 200):
            async with client.post("/echo", headers={"X-Request-Id": unfit}) as answer:
                assert len(answer.headers["X-Request-Id"]) == 36


async def test_a_problem_is_rendered_as_rfc_9457_says() -> None:
    async with client_of(make()) as client, client.get("/teapot", headers={"X-Request-Id": "r"}) as answer:
        assert answer.status == 418
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Retry-After"] == "3"
        assert await answer.json(content_type=None) == {
            "type": "urn:trunkline:error:teapot",
            "title": "A teapot",
            "status": 418,
            "detail": "short and stout",
            "field": "handle",
            "remedy": "Ask a kettle.",
            "request_id": "r",
        }


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("PATCH", "/echo", 405, "method-not-allowed"),
        ("GET", "/spill", 418, "teapot"),
        ("GET", "/crash", 500, "internal-error"),
        ("GET", "/plain", 409, "taken"),
    ],
)
async def test_whatever_goes_wrong_is_a_problem(method: str, path: str, status: int, slug: str) -> None:
    async with client_of(make()) as client, client.request(method, path) as answer:
        said = await answer.json(content_type=None)
        assert (answer.status, said["type"]) == (status, f"urn:trunkline:error:{slug}")
        assert answer.content_type == "application/problem+json"
        assert "secret details" not in json.dumps(said)


async def test_a_fault_is_logged_with_its_cause_under_the_request_id() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with client_of(make()) as client, client.get("/crash", headers={"X-Request-Id": "r-7"}):
            pass
    (fault,) = [line for line in logs if line["event"] == "request failed"]
    assert str(fault["exc_info"]) == "secret details"
    assert fault["request_id"] == "r-7"


async def test_each_request_is_one_line_of_the_log_and_its_query_is_not_in_it() -> None:
    with structlog.testing.capture_logs() as logs:
        async with client_of(make()) as client, client.post("/echo?token=hidden"):
            pass
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/echo", 200)
    assert "hidden" not in repr(line)


async def test_a_body_over_the_limit_is_refused() -> None:
    async with client_of(make(max_body_bytes=1000)) as client:
        async with client.post("/echo", data=b"x" * 1000) as answer:
            assert answer.status == 200
        async with client.post("/echo", data=b"x" * 1001) as answer:
            said = await answer.json(content_type=None)
            assert (answer.status, said["limit_bytes"]) == (413, 1000)


async def test_a_body_that_is_not_in_its_coding_is_a_problem() -> None:
    async with client_of(make()) as client:
        headers = {"Content-Encoding": "gzip"}
        async with client.post("/echo", data=b"no gzip", headers=headers) as answer:
            assert answer.status == 400
            assert "Traceback" not in await answer.text()


async def test_healthz_names_the_service() -> None:
    async with client_of(make()) as client, client.get("/healthz") as answer:
        assert await answer.json() == {"status": "ok", "service": "test"}


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"],
)
async def test_bytes_that_are_no_http_get_400_and_no_traceback_in_the_log(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listen(make(), HOST, 0, False) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b" 400 " in answer.splitlines()[0]
    assert not [record for record in caplog.records if record.exc_info and record.levelname == "ERROR"]


async def test_a_default_port_that_is_taken_moves_on(taken: int) -> None:
    async with listen(make(), HOST, taken, fixed=False) as port:
        assert port > taken
        async with aiohttp.ClientSession() as client, client.get(f"http://{HOST}:{port}/healthz") as answer:
            assert answer.status == 200


async def test_a_set_port_that_is_taken_is_an_error_that_names_it(taken: int) -> None:
    with pytest.raises(PortInUse, match=f"port {taken} of {HOST} is set") as caught:
        async with listen(make(), HOST, taken, fixed=True):
            pass
    assert caught.value.exit_code == 78
    assert "set another port" in caught.value.remedy


async def test_a_second_listener_of_our_own_moves_on_too() -> None:
    async with listen(make(), HOST, 0, False) as first, listen(make(), HOST, first, fixed=False) as second:
        assert second > first


@pytest.mark.parametrize(
    ("host", "port"), [("203.0.113.7", 0), ("no.such.host.invalid", 0), (HOST, 70_000), (HOST, -1)]
)
async def test_an_address_that_cannot_be_is_an_error(host: str, port: int) -> None:
    with pytest.raises(CannotListen, match=host.partition(".")[0] if 0 <= port < 65_536 else str(port)):
        async with listen(make(), host, port, fixed=False):
            pass


async def test_leaving_lets_a_request_in_flight_finish_and_tells_streams_to_end() -> None:
    app = make()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(text="whole")

    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"first\n")
        await request.app[CLOSING].wait()
        go_on.set()
        return answer

    app.router.add_get("/slow", slow)
    app.router.add_get("/stream", stream)
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as tasks:
        async with listen(app, HOST, 0, False) as port:
            following = await client.get(f"http://{HOST}:{port}/stream")
            assert await following.content.readline() == b"first\n"
            waiting = tasks.create_task(client.get(f"http://{HOST}:{port}/slow"))
            await begun.wait()
        answer = await waiting
        assert await answer.text() == "whole"
        assert await following.content.read() == b""


async def test_leaving_is_bounded() -> None:
    app = make()
    begun = asyncio.Event()

    async def stuck(request: web.Request) -> web.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    app.router.add_get("/stuck", stuck)
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as tasks:
        async with listen(app, HOST, 0, False, drain_s=0.05) as port:
            waiting = tasks.create_task(_status(client, f"http://{HOST}:{port}/stuck"))
            await begun.wait()
        assert await waiting is None


async def test_an_answer_that_breaks_off_is_seen_as_broken() -> None:
    app = make()

    async def broken(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"half")
        raise RuntimeError("then it broke")

    app.router.add_get("/broken", broken)
    async with client_of(app) as client:
        answer = await client.get("/broken")
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_protocol_factory_can_be_served() -> None:
    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"hello")
            transport.close()

    async with listen(Greeter, HOST, 0, False) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        assert await reader.read() == b"hello"
        writer.close()


async def _status(client: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with client.get(url) as answer:
            return answer.status
    except aiohttp.ClientError:
        return None
