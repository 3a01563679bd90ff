"""What the suite opens vaults with, and reads them by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from bus import codec
from bus.event import Event, Stamp
from schemas.request_vault import Recorded
from services.request_vault.store.port import Selection, Store
from tests.services.request_vault.samples import START

Open = Callable[..., AbstractAsyncContextManager[Store]]


class Clock:
    """Its time stands where it is put."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, delay_s: float) -> None:
        """In real time: an engine looks now and then for what other instances did."""
        await asyncio.sleep(delay_s)


def ids(records: tuple[Recorded, ...]) -> list[str]:
    return [decoded(record).id for record in records]


def decoded(record: Recorded) -> Event:
    event = codec.decode_event(record.event)
    return event


def stamped(event: Event, stamp: Stamp) -> Event:
    return Event(**{name: getattr(event, name) for name in event.__struct_fields__} | {"stamp": stamp})


async def whole_log(store: Store) -> tuple[Recorded, ...]:
    return (await store.read_log(Selection(), {}, 500)).records
