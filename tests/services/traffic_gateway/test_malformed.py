"""A thousand requests that are wrong in some way: each is answered 4xx or 5xx or its connection is closed, in
time; nothing is left open or running; and the gateway goes on working."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from bus.testing import turns
from services.traffic_gateway.config import Config
from tests.effort import tries
from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.malformed import VALID, malformed
from tests.services.traffic_gateway.running import Running, gateway

pytestmark = [pytest.mark.uvloop, pytest.mark.timeout(60)]

COUNT = tries(1000)
AT_ONCE = 16
DEADLINE_S = 5.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CONFIG = Config(head_timeout_s=0.2, idle_timeout_s=0.3, keep_alive_s=0.5, wait_timeout_s=0.5, drain_s=0.2)
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d) ")


class Api:
    """A target that counts who is connected, reads whatever comes, and answers each whole head."""

    def __init__(self) -> None:
        self.open = 0

    async def talk(self, peer: Peer) -> None:
        self.open += 1
        try:
            while True:
                head = await peer.head()
                if b"ransfer-" in head or b"ontent-" in head:
                    await peer.say(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                    await peer.hung_up()
                    return
                await peer.say(OK)
        finally:
            self.open -= 1


async def told(at: Running, raw: bytes) -> list[int]:
    """The statuses that the gateway answers with before the connection is closed."""
    async with asyncio.timeout(DEADLINE_S), dial(at.port) as client:
        try:
            await client.say(raw)
            answer = await client.rest()
        except ConnectionError:
            return []
    statuses = [int(status) for status in _STATUS.findall(answer)]
    assert statuses or not answer, f"{raw[:300]!r} was told {answer[:300]!r}"
    assert b"Traceback" not in answer
    return statuses


async def works(at: Running, path: bytes) -> None:
    async with asyncio.timeout(DEADLINE_S), dial(at.port) as client:
        await client.say(b"GET " + path + b" HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
        head, body = await client.response()
        assert (head[:12], body) == (b"HTTP/1.1 200", b"hi")


async def test_a_thousand_malformed_requests(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api()
    seen: dict[int, int] = {}
    tasks_before = len(asyncio.all_tasks())
    caplog.set_level(logging.WARNING)
    async with target(api.talk) as place:
        async with gateway(config=CONFIG) as at:
            path = at.path(place, "")
            running = len(asyncio.all_tasks())
            requests = [*VALID, *malformed(COUNT)]

            async def worker() -> None:
                while requests:
                    raw = requests.pop().replace(b"PATH", path)
                    try:
                        statuses = await told(at, raw)
                    except TimeoutError:
                        pytest.fail(f"not over after {DEADLINE_S:g} s: {raw[:1000]!r}")
                    for status in statuses:
                        seen[status] = seen.get(status, 0) + 1
                    await works(at, path)

            async with asyncio.TaskGroup() as workers:
                for _ in range(AT_ONCE):
                    workers.create_task(worker())
            async with asyncio.timeout(DEADLINE_S):
                while at.server.admission.open or at.server.connections:
                    await turns()
                # Each connection that is kept to the target is a task of the target's, in this loop.
                while len(asyncio.all_tasks()) > running + api.open:
                    await turns()
        async with asyncio.timeout(DEADLINE_S):
            while api.open:
                await turns()
    assert len(asyncio.all_tasks()) == tasks_before
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert 500 not in seen, "a fault in the gateway"
    assert sum(count for status, count in seen.items() if status >= 400) > COUNT // 3


async def test_a_malformed_request_takes_those_of_its_segment_along() -> None:
    """The parser forgets what it had read of the segment. One 400 is all that is said, and nobody was
    called: the client may send the good ones again."""
    async with target(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as api, gateway() as gw:
        good = b"POST " + gw.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: 0\r\n\r\n"
        async with dial(gw.port) as client:
            await client.say(good + b"GET / HTTP/1.1\r\nHost: gw\r\n bad: 1\r\n\r\n" + good)
            head, _ = await client.response()
            assert head.startswith(b"HTTP/1.1 400 ")
            assert await client.rest() == b""
    assert (api.connections, gw.relay.calls) == (0, [])
