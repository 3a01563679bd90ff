"""A vault as a service, over a harness, in a folder that outlives it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus.router import Router
from bus.testing import Harness, ManualClock, harness
from schemas import request_vault as contract
from schemas.request_vault import BODY_PART_BYTES, BodyChunk
from schemas.traffic_gateway import Body
from services.request_vault import service
from services.request_vault.config import Config
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import BUCKET


@asynccontextmanager
async def vault(
    folder: Path, *routers: Router, clock: ManualClock | None = None, config: Config | None = None
) -> AsyncIterator[Harness]:
    followed = [each for router in routers if (each := router.subscription()) is not None]
    async with harness(
        *routers, source="request_vault", clock=clock, subscriptions=(*contract.SUBSCRIPTIONS, *followed)
    ) as b:
        ground = a_ground(b, folder)
        async with service.build(config or Config(), ground):
            yield b


def apart(data: bytes) -> Body:
    """A body that does not ride in the event."""
    return Body(size_bytes=len(data), captured_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def inline(data: bytes) -> Body:
    return Body(len(data), len(data), hashlib.sha256(data).hexdigest(), data)


async def send_body(b: Harness, data: bytes, *, bucket: str = BUCKET) -> None:
    pieces = [data[at : at + BODY_PART_BYTES] for at in range(0, len(data), BODY_PART_BYTES)]
    sha256 = hashlib.sha256(data).hexdigest()
    for index, piece in enumerate(pieces):
        chunk = BodyChunk(bucket, sha256, index, len(pieces), len(data), piece)
        await b.publish(chunk, key=bucket, subject=sha256)


def files_with(folder: Path, *needles: bytes) -> list[str]:
    """The files below it, whatever they are, in which one of these stands."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    )
