"""Redaction where calls are captured: a redactor for each bucket, and the threads in which long bodies are
masked. Called by `relaying` (which redactor) and `recording` (masking, before anything is published).

A redactor is kept until its bucket's settings change. While these are older than `MAX_STALE_S`, rules may be
missing that somebody has made since: then everything is dropped (`strict`), whatever the settings say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Literal

import structlog

from schemas.identity import Bucket, Redaction
from schemas.traffic_gateway import CallCaptured, Headers
from services.calls.body import header
from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.redactor import Redactor
from services.chassis.access import MAX_STALE_S
from services.traffic_gateway.domain.bodies import Stored
from services.traffic_gateway.domain.masking import dropped, masked

PURPOSE = "redaction"
"""What the keys of the marks are derived for (`chassis.secrets`), with the bucket's key as context."""
AT_ONCE_BYTES = 64 * 1024
"""Both bodies of a call together: what is longer, or may be so inside its coding, is masked in a thread."""
THREADS = 2
MAX_REMEMBERED = 1000

_log = structlog.get_logger("traffic_gateway")

_Named = tuple[str, Literal["as set", "strict"]]


class Redacting:
    """Made by `Redacting.open`."""

    def __init__(
        self, derived: Callable[[str, str], bytes], age_s: Callable[[], float], threads: Executor
    ) -> None:
        self._derived = derived
        self._age_s = age_s
        self._threads = threads
        self._redactors: dict[_Named, tuple[Redaction, Redactor]] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, derived: Callable[[str, str], bytes], age_s: Callable[[], float]
    ) -> AsyncIterator[Redacting]:
        """derived: a key for a purpose and a bucket (`Secrets.derived`). age_s: of the buckets' settings."""
        with ThreadPoolExecutor(THREADS, "redaction") as threads:
            yield cls(derived, age_s, threads)

    def redactor(self, bucket: Bucket) -> Redactor:
        stale = self._age_s() > MAX_STALE_S
        named: _Named = (bucket.key, "strict" if stale else "as set")
        known = self._redactors.get(named)
        if known is not None and (known[0] is bucket.redaction or known[0] == bucket.redaction):
            return known[1]
        if len(self._redactors) >= MAX_REMEMBERED:
            del self._redactors[next(iter(self._redactors))]
        made = self._made(bucket, strict=stale)
        self._redactors[named] = (bucket.redaction, made)
        return made

    def _made(self, bucket: Bucket, *, strict: bool) -> Redactor:
        key = self._derived(PURPOSE, bucket.key)
        settings = bucket.redaction
        if strict:
            settings = Redaction("strict", settings.headers, settings.paths, settings.patterns)
        try:
            return Redactor(settings, key)
        except InvalidRule as error:
            _log.error(
                "a bucket's redaction rule cannot be used: everything is dropped",
                bucket=bucket.key,
                rule=error.rule,
            )
            return Redactor(Redaction("strict"), key)

    def at_once(self, call: CallCaptured) -> bool:
        """Whether masking it holds nobody up."""
        size_bytes = 0
        for message in (call.request, call.response):
            if message is not None and (bytes_here := message.body.captured_bytes):
                size_bytes += bytes_here
                if size_bytes > AT_ONCE_BYTES or header(message.headers, "content-encoding") is not None:
                    return False
        return True

    def publishable(
        self, call: CallCaptured, bodies: Sequence[Stored], redactor: Redactor, echoed: Headers | None
    ) -> tuple[CallCaptured, list[Stored]]:
        """Never raises: a call that cannot be masked loses what might be secret in it."""
        try:
            return masked(call, bodies, redactor, echoed)
        except Exception as error:
            # Not its text nor its frames: both may hold what is secret.
            _log.error(
                "a call could not be redacted, its contents were dropped",
                call=call.id,
                error=type(error).__name__,
            )
            return dropped(call, error), []

    async def in_thread(
        self, call: CallCaptured, bodies: Sequence[Stored], redactor: Redactor, echoed: Headers | None
    ) -> tuple[CallCaptured, list[Stored]]:
        """`publishable`, without holding up other calls. Those that wait are bounded by the memory that
        bodies share."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.publishable, call, bodies, redactor, echoed)
