"""A load generator on raw sockets: as many calls as `connections` keep-alive connections can make, or a
steady rate.

`python -m bench.gateway.load flood|steady PORT PATH SECONDS` prints one line of JSON: calls, failed, seconds,
latencies_ms (for steady). Every answer is read to its end; one whose status is not 200 counts as failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

CONNECTIONS = 32
RATE = 200


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            if size == 0:
                break
    else:
        at = lower.index(b"content-length:") + 15
        await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
    return head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))


def _request(port: int, path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "User-Agent: bench/1\r\nAccept: application/json\r\n"
        "Authorization: Bearer 0123456789abcdef\r\nAccept-Encoding: gzip\r\n\r\n"
    ).encode()


async def flood(port: int, path: str, seconds: float) -> dict[str, object]:
    request = _request(port, path)
    until = time.monotonic() + seconds
    made = failed = 0

    async def client() -> None:
        nonlocal made, failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            good = await _call(reader, writer, request)
            made += 1
            failed += not good
        writer.close()

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(client())
    return {"calls": made, "failed": failed, "seconds": time.monotonic() - began}


async def steady(port: int, path: str, seconds: float) -> dict[str, object]:
    """RATE calls a second, spread over a few connections, each timed from when it was due."""
    request = _request(port, path)
    latencies: list[float] = []
    failed = 0
    began = time.monotonic()

    async def client(offset: int, count: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(offset, round(RATE * seconds), count):
            due = began + 0.2 + number / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            sent = time.monotonic()
            failed += not await _call(reader, writer, request)
            latencies.append(1000 * (time.monotonic() - sent))
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for offset in range(4):
            tasks.create_task(client(offset, 4))
    return {"calls": len(latencies), "failed": failed, "seconds": seconds, "latencies_ms": latencies}


if __name__ == "__main__":
    kind = flood if sys.argv[1] == "flood" else steady
    print(json.dumps(uvloop.run(kind(int(sys.argv[2]), sys.argv[3], float(sys.argv[4])))))
