"""Proving a whole log, whatever engine keeps it: every partition from its first number to its end, then the
database itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bus.errors import Unavailable
from services.request_vault.domain.links import Link, last_number
from services.request_vault.domain.verifying import Problem, Verifier
from services.request_vault.store.port import Archive


async def problems(archive: Archive, limit: int = 500) -> list[Problem | str]:
    """Everything that is wrong, in order of position."""
    return [problem async for problem in prove(archive, limit)]


async def prove(archive: Archive, limit: int = 500) -> AsyncIterator[Problem | str]:
    try:
        ends = await archive.ends()
    except Unavailable as error:
        yield str(error)
        return
    for end in ends:
        verifier = Verifier(end.partition, end)
        try:
            async for link in every_link(archive, end.partition, limit):
                for problem in verifier.feed(link):
                    yield problem
        except Unavailable as error:
            yield Problem((end.partition, verifier.reached + 1), str(error))
        for problem in verifier.finish():
            yield problem
    try:
        for told in await archive.check():
            yield told
    except Unavailable as error:
        yield str(error)


async def every_link(archive: Archive, partition: int, limit: int = 500) -> AsyncIterator[Link]:
    after = 0
    while page := await archive.links(partition, after, limit):
        for link in page:
            yield link
        after = last_number(page[-1])
