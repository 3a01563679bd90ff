"""An upstream that costs next to nothing: one canned JSON answer for every request. `python -m
bench.gateway.upstream`."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import uvloop

BODY = json.dumps({"id": "o-0001", "tea": "sencha", "quantity": 2, "note": "x" * 512}).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Length: " + str(len(BODY)).encode() + b"\r\n\r\n" + BODY
)


class Upstream(asyncio.Protocol):
    """Answers each head that ends; the load has no request bodies."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        whole = self._rest + data
        count = whole.count(b"\r\n\r\n")
        self._rest = whole[whole.rfind(b"\r\n\r\n") + 4 :] if count else whole
        if count:
            self._transport.write(ANSWER * count)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
