"""Calls that come back: found, whichever way they are addressed, and no other call is touched."""

from __future__ import annotations

import json

import pytest

from services.calls.address import parse_url
from services.traffic_gateway.config import Config
from services.traffic_gateway.domain.loops import Loops
from tests.services.loopback import dial, target
from tests.services.traffic_gateway.running import KEY, gateway

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
LOOPS = Loops("gw.example", "https://calls.example/", "0123")


@pytest.mark.parametrize(
    ("url", "marked"),
    [
        (f"http://127.0.0.1:7080/{KEY}/http://api.example/", True),
        (f"http://127.0.0.1:7080/{KEY}/https/api.example/", True),
        (f"http://other.example/{KEY}/http://{KEY}/", True),
        (f"http://api-example-{KEY}.gw.example/x", True),
        ("https://calls.example/whatever", True),
        (f"http://127.0.0.1:7080/{KEY}", False),  # a request bin answers itself
        (f"http://127.0.0.1:7080/{KEY}/", False),
        (f"http://{KEY}.gw.example/x", False),
        ("http://gw.example/", False),
        ("http://a.b.gw.example/", False),  # no address: refused there
        ("http://nogw.example/x", False),
        ("https://api.example/applications/17?next=http://gw.example/", False),
        ("https://web.archive.example/web/2020/https://api.example/", False),
        ("https://api.example/", False),
    ],
)
def test_only_what_a_gateway_would_relay_on_is_marked(url: str, marked: bool) -> None:
    assert LOOPS.may_begin(parse_url(url)) is marked


@pytest.mark.parametrize(
    ("via", "closed"),
    [
        (["1.1 trunkline-0123"], True),
        (["1.0 fred, 1.1 trunkline-0123 (Trunkline)", "1.1 p.example"], True),
        (["HTTP/1.1 trunkline-0123"], True),
        (["1.1 trunkline-01234"], False),
        (["1.1 trunkline-other", "1.1 vegur"], False),
        (["trunkline-0123"], False),
        (["", " , "], False),
    ],
)
def test_only_its_own_mark_is_a_loop(via: list[str], closed: bool) -> None:
    assert LOOPS.closed(via) is closed


async def test_a_call_to_the_gateway_s_own_address_ends_at_the_second_pass() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        once = f"http://127.0.0.1:{at.port}/{KEY}"
        path = f"/{KEY}/{once}/{once}/http://{api.authority}/"
        await client.say(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
        head, body = await client.response()
        assert head.startswith(b"HTTP/1.1 508 ")
        assert json.loads(body)["type"] == "urn:trunkline:error:loop-detected"
        assert api.connections == 0
        call = await at.relay.call()
        assert call.response is not None
        assert call.response.status == 508
        assert [name for name, _ in call.request.headers].count("Via") == 1, "what was sent is what is kept"


async def test_a_proxy_that_hands_everything_to_the_gateway_does_not_turn_for_ever() -> None:
    """It stands where `public_url` says, and makes a gateway address out of whatever it is asked."""
    config = Config(drain_s=0.2, public_url="http://localhost")
    async with gateway(config=config) as at, dial(at.port) as client:
        path = f"/{KEY}/http://localhost:{at.port}/{KEY}/http://localhost:{at.port}/"
        await client.say(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
        head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 508 ")


async def test_a_chain_of_two_installations_is_no_loop_and_other_calls_are_untouched() -> None:
    async with target(OK) as api, gateway() as first, gateway() as second, dial(first.port) as client:
        inner = f"/{KEY}/http://{api.authority}/x"
        path = f"/{KEY}/http://127.0.0.1:{second.port}{inner}"
        await client.say(f"GET {path} HTTP/1.1\r\nHost: gw\r\nVia: 1.1 mine\r\n\r\n".encode())
        assert (await client.response())[0].startswith(b"HTTP/1.1 200 ")
        await client.say(f"GET {inner} HTTP/1.1\r\nHost: gw\r\nVia: 1.1 mine\r\n\r\n".encode())
        assert (await client.response())[0].startswith(b"HTTP/1.1 200 ")
        through_two, direct = api.heard
        assert through_two.count(b"Via: ") == 2
        assert direct == f"GET /x HTTP/1.1\r\nHost: {api.authority}\r\nVia: 1.1 mine\r\n\r\n".encode()
