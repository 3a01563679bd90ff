"""The captured bytes of a call, read from the vault in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from schemas.request_vault import ReadBody
from schemas.traffic_gateway import Body, CallCaptured
from services.api.edge.asking import Asker
from services.api.edge.problems import BODY_DAMAGED, BODY_UNKNOWN
from services.chassis.web import Problem

VAULT = "request_vault"

Sides = tuple[bytes | None, bytes | None]


class Bodies:
    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def sides(self, call: CallCaptured) -> Sides:
        """The captured bytes of request and response; None where they are missing or damaged, empty where
        there is no body."""
        request = await self._whole(call.bucket, call.request.body)
        if call.response is None:
            return request, b""
        return request, await self._whole(call.bucket, call.response.body)

    async def parts(self, bucket: str, body: Body) -> AsyncIterator[bytes]:
        """The captured bytes in parts. Raises Problem when they are missing."""
        if body.inline is not None or not body.captured_bytes:
            yield body.inline or b""
            return
        if body.sha256 is None:
            raise BODY_UNKNOWN.of("The bytes of this body were not kept.")
        at = 0
        while at < body.captured_bytes:
            part = await self._asker.ask(VAULT, ReadBody(bucket, body.sha256, at))
            if not part.data:
                raise BODY_UNKNOWN.of(f"Only {at} of {body.captured_bytes} bytes of this body are there.")
            yield part.data
            at += len(part.data)

    async def _whole(self, bucket: str, body: Body) -> bytes | None:
        try:
            return b"".join([part async for part in self.parts(bucket, body)])
        except Problem as problem:
            if problem.slug in (BODY_UNKNOWN.slug, BODY_DAMAGED.slug):
                return None
            raise
