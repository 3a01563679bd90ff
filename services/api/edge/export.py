"""A bucket's calls as one HAR 1.2 document, streamed: a few calls are in memory at a time, however many are
asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from schemas.operation import Operation
from schemas.request_vault import CallSummary, GetCall, SearchCalls
from services.api.domain.binding import Binding, Invalid
from services.api.edge.asking import Asker
from services.api.edge.bodies import VAULT
from services.api.edge.calls import Calls
from services.api.edge.failing import from_invalid
from services.api.edge.gate import Gate
from services.api.edge.problems import CALL_UNKNOWN, PARAMETER_INVALID
from services.calls import har
from services.chassis.web import Problem

OPERATION = Operation(
    SearchCalls,
    "GET",
    "/buckets/{bucket}/calls.har",
    "calls:read",
    "A bucket's calls as a HAR 1.2 archive, newest first",
    bucket="bucket",
)
PAGE = 100
AT_ONCE = 4


class Export:
    """GET /v1/buckets/{bucket}/calls.har"""

    def __init__(self, gate: Gate, asker: Asker, calls: Calls, version: str) -> None:
        self._gate = gate
        self._asker = asker
        self._calls = calls
        self._version = version
        self.binding = Binding(OPERATION)

    async def archive(self, request: web.Request) -> web.StreamResponse:
        """The calls that match, all of them or the newest `limit`."""
        caller = await self._gate.caller(request, OPERATION.scope)
        try:
            asked = self.binding.bind(request.match_info, request.query.items(), b"", {})
        except Invalid as error:
            raise from_invalid(error) from error
        assert isinstance(asked, SearchCalls)
        await self._gate.check_bucket(caller, asked.bucket)
        limit = asked.limit if "limit" in request.query else None
        if limit is not None and limit < 1:
            raise PARAMETER_INVALID.of("query 'limit': it is at least 1.", field="limit")
        pages = self._pages(asked, limit)
        first = await anext(
            pages
        )  # before the answer begins: a refused search is a problem, not a broken archive
        answer = web.StreamResponse(
            headers={
                "Content-Type": "application/json",
                "Content-Disposition": f'attachment; filename="trunkline-{asked.bucket}.har"',
                "Cache-Control": "no-store",
            }
        )
        await answer.prepare(request)
        if request.method == "GET":
            await answer.write(har.opening(self._version))
            separator = await self._write(answer, first, b"\n")
            async for page in pages:
                separator = await self._write(answer, page, separator)
            await answer.write(har.CLOSING)
        await answer.write_eof()
        return answer

    async def _pages(self, asked: SearchCalls, limit: int | None) -> AsyncIterator[tuple[CallSummary, ...]]:
        cursor, left = asked.cursor, limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            search = msgspec.structs.replace(asked, limit=size, cursor=cursor)
            page = await self._asker.ask(VAULT, search)
            yield page.calls
            if page.next_cursor is None:
                return
            cursor = page.next_cursor
            left = left if left is None else left - len(page.calls)

    async def _write(
        self, answer: web.StreamResponse, calls: tuple[CallSummary, ...], separator: bytes
    ) -> bytes:
        for start in range(0, len(calls), AT_ONCE):
            for entry in await self._entries(calls[start : start + AT_ONCE]):
                if entry is not None:
                    await answer.write(separator + entry)
                    separator = b",\n"
        return separator

    async def _entries(self, calls: tuple[CallSummary, ...]) -> list[bytes | None]:
        try:
            async with asyncio.TaskGroup() as tasks:
                made = [tasks.create_task(self._entry(call.id, call.bucket)) for call in calls]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [task.result() for task in made]

    async def _entry(self, id: str, bucket: str) -> bytes | None:
        """None: the call has gone since it was found."""
        try:
            record = await self._asker.ask(VAULT, GetCall(id, bucket))
        except Problem as problem:
            if problem.slug == CALL_UNKNOWN.slug:
                return None
            raise
        return await self._calls.entry(record)
