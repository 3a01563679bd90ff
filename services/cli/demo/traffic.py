"""The calls of the demo: real HTTP through the gateway, of every kind that one meets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from services.calls import address

AT_ONCE = 16
TEAS = ("assam", "darjeeling", "genmaicha", "lapsang", "sencha")


@dataclass(frozen=True)
class Sending:
    """One call to make. body: what aiohttp takes as `data`, made anew for each call."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    body: Callable[[], Any] | None = None


@dataclass
class Sent:
    """What the client saw: the status, and the id the gateway gave the call."""

    status: int
    call_id: str | None


def plan(seed: int = 7) -> list[Sending]:
    """A few hundred calls, the same each time."""
    chance = random.Random(seed)
    calls = [Sending("GET", f"/teas/{chance.choice(TEAS)}") for _ in range(110)]
    calls += [Sending("GET", f"/teas?max_cents={chance.choice((700, 900, 1200))}") for _ in range(30)]
    calls += [_order(chance.choice(TEAS), chance.randint(1, 3)) for _ in range(60)]
    calls += [Sending("GET", f"/orders/o-{n:04d}") for n in range(1, 21)]
    calls += [Sending("DELETE", f"/orders/o-{n:04d}") for n in range(1, 6)]
    calls += [_login("oolong"), _login("oolong"), *[_login(guess) for guess in ("sugar", "milk", "lemon")]]
    calls += [_photo(chance.randbytes(kilobytes * 1024)) for kilobytes in (3, 40, 300, 1500)]
    calls += [Sending("GET", "/catalogue", {"Accept-Encoding": "gzip"}) for _ in range(6)]
    calls += [Sending("GET", "/prices") for _ in range(10)]
    calls += [Sending("GET", f"/tea/{tea}") for tea in TEAS]
    calls += [Sending("HEAD", "/teas") for _ in range(5)]
    calls += [Sending("GET", "/brewing?seconds=0.6") for _ in range(3)]
    calls += [Sending("GET", "/teas/oolong") for _ in range(8)]
    calls += [Sending("POST", "/orders", json={"tea": "chai"}) for _ in range(4)]
    calls += [Sending("GET", "/broken") for _ in range(7)]
    calls += [Sending("GET", "/teapot") for _ in range(2)]
    calls += [Sending("POST", "/prices", body=_pieces)]
    chance.shuffle(calls)
    return calls


def _order(tea: str, quantity: int) -> Sending:
    return Sending("POST", "/orders", json={"tea": tea, "quantity": quantity})


def _login(password: str) -> Sending:
    return Sending("POST", "/login", body=lambda: {"name": "ada", "password": password})


def _photo(content: bytes) -> Sending:
    def form() -> aiohttp.FormData:
        data = aiohttp.FormData()
        data.add_field("photo", content, filename="cup.jpg", content_type="image/jpeg")
        return data

    return Sending("POST", "/photos", body=form)


async def _pieces() -> Any:
    """A chunked upload: its length is not known before."""
    for tea in TEAS:
        yield tea.encode() + b"\n"


async def send(
    session: aiohttp.ClientSession, sending: Sending, gateway_url: str, bucket: str, target: str
) -> Sent:
    """Make one call to `target` (the shop's URL) through the gateway."""
    url = address.at_path(gateway_url, bucket, f"{target}{sending.path}")
    async with session.request(
        sending.method,
        url,
        headers=sending.headers,
        json=sending.json,
        data=sending.body() if sending.body else None,
        allow_redirects=False,
    ) as response:
        await response.read()
        return Sent(response.status, response.headers.get("Trunkline-Call-Id"))


async def send_all(
    session: aiohttp.ClientSession,
    sendings: Sequence[Sending],
    gateway_url: str,
    bucket: str,
    target: str,
    done: Callable[[Sent], None],
) -> None:
    """Make these calls, AT_ONCE at a time; `done` is told of each. A connection that breaks ends its worker's
    part quietly: whoever kills the gateway expects it."""
    waiting = iter(sendings)

    async def worker() -> None:
        for sending in waiting:
            try:
                done(await send(session, sending, gateway_url, bucket, target))
            except aiohttp.ClientError:
                return

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
