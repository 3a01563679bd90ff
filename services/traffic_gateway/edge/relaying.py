"""One request's way: to the bucket and target that its address means, and the answer back.

Requests and responses are streamed both ways, and each side's pace holds the other back. Nothing is decoded
or re-encoded. Every call ends in exactly one capture, however it ends: answered, failed, or left by its
client.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Protocol

from aiohttp import StreamReader, web

from bus.clock import Clock
from bus.errors import BusError
from bus.ids import Ids
from schemas.identity import Bucket
from schemas.traffic_gateway import CallError
from services.calls.address import (
    PORT_HEADERS,
    Address,
    AddressInvalid,
    Target,
    host_target,
    parse_host,
    parse_path,
)
from services.chassis.outgoing import (
    BodyFailed,
    Origin,
    Outgoing,
    OutgoingError,
    Request,
    Response,
    UpstreamMalformed,
)
from services.chassis.web import Problem
from services.traffic_gateway.config import Config
from services.traffic_gateway.domain.capture import Budget, Capture, Headed, Tap
from services.traffic_gateway.domain.framing import Framing
from services.traffic_gateway.domain.headers import CALL_ID, RequestHeaders, ResponseHeaders
from services.traffic_gateway.domain.loops import Loops
from services.traffic_gateway.edge import problems
from services.traffic_gateway.edge.answering import HTTP11, Answer, Written
from services.traffic_gateway.edge.bin import echo
from services.traffic_gateway.edge.recording import CaptureFailed, Recorder

BODILESS = frozenset((204, 304))  # RFC 9112 6.3


class KnowsBuckets(Protocol):
    """`chassis.access.Access`, as far as it is used here."""

    async def bucket(self, key: str) -> Bucket | None: ...


class Gateway:
    """The handler of the server: `await gateway(request)`."""

    def __init__(
        self,
        config: Config,
        buckets: KnowsBuckets,
        outgoing: Outgoing,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._config = config
        self._buckets = buckets
        self._outgoing = outgoing
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._loops = Loops(config.domain, config.public_url, ids.new())
        self._budget = Budget(config.capture_memory_bytes)
        self._keep = Written(keep_alive=True)
        self._close = Written(keep_alive=False)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        began = self._clock.monotonic()
        key = "_"
        try:
            if "Via" in request.headers and self._loops.closed(request.headers.getall("Via")):
                raise problems.LOOP_DETECTED.of(
                    "this call was relayed by this gateway before: its Via says so"
                )
            address = self._address(request)
            key = address.key
            bucket = await self._buckets.bucket(key)
            if bucket is None:
                raise problems.BUCKET_UNKNOWN.of(f"no bucket has the key {key!r}", key=key)
            return await self._answer(request, bucket, address.target, began)
        except AddressInvalid as error:
            return problems.ADDRESS_INVALID.of(str(error)).response()
        except Problem as problem:
            return problem.response()
        except BusError as error:
            return problems.of_bus(error, key).response()

    async def _answer(
        self, request: web.BaseRequest, bucket: Bucket, target: Target | None, began: float
    ) -> web.StreamResponse:
        """Every way out of here is one capture, unless the bucket keeps none."""
        host = request.headers.get("Host", "") if target is None else target.authority.text
        headers = RequestHeaders(request.raw_headers, host.encode("utf-8", "surrogateescape"))
        if headers.size_bytes > self._config.max_head_bytes:
            limit = self._config.max_head_bytes
            raise problems.HEAD_TOO_LARGE.of(f"{headers.size_bytes} bytes of headers; the limit is {limit}")
        if target is not None and self._loops.may_begin(target):
            headers.headers.append(self._loops.mark)
        call = self._capture(request, bucket, target, headers, began)
        answer = Answer(request, call.id if call.mode != "off" else None)
        try:
            if target is None:
                await echo(request, call, answer, self._recorder)
            else:
                await self._relay(request, target, headers, call, answer)
            self._recorder.now(call)
        except OutgoingError as error:
            return await self._fail(request, call, answer, error)
        except CaptureFailed as error:
            return self._refuse(answer, problems.CAPTURE_FAILED.of(str(error), call=call.id))
        except ConnectionError:
            self._left(call, answer)
            return self._close
        except asyncio.CancelledError:
            self._left(call, answer)
            raise
        except Exception as error:
            call.error = CallError(
                "gateway-failed", f"{type(error).__name__} in the gateway; its log tells more"
            )
            call.status_sent = call.status_sent if answer.started else problems.INTERNAL_ERROR.status
            self._recorder.now(call)
            raise
        finally:
            call.drop()
        return self._keep if answer.keep_alive else self._close

    async def _relay(
        self, request: web.BaseRequest, target: Target, headers: RequestHeaders, call: Capture, answer: Answer
    ) -> None:
        content = request.content
        body: bytes | Tapped
        if content.is_eof():
            body = content.read_nowait()
            call.request_body.add(body)
        else:
            body = Tapped(content, call.request_body)
        authority = target.authority
        sending = Request(
            Origin(authority.scheme, authority.host, authority.port),
            request.method,
            target.tail.encode("utf-8", "surrogateescape"),
            headers.headers,
            body,
            headers.chunked,
        )
        async with self._outgoing.send(sending, answer.inform) as response:
            await self._pass_on(request, response, call, answer)

    async def _pass_on(
        self, request: web.BaseRequest, response: Response, call: Capture, answer: Answer
    ) -> None:
        phases = response.connecting
        call.headed = Headed(
            self._clock.monotonic(),
            phases.dns_s,
            phases.connect_s,
            phases.tls_s,
            response.send_s,
            response.wait_s,
        )
        call.server_address = response.address
        headers = ResponseHeaders(response.headers)
        if headers.size_bytes > self._config.max_head_bytes:
            raise UpstreamMalformed(f"{headers.size_bytes} bytes of headers came from {call.url}")
        if headers.coded and not response.chunked:
            raise UpstreamMalformed(f"{call.url} answers in a transfer coding that does not end in chunked")
        reason = response.reason.encode("utf-8", "surrogateescape")
        call.answered(response.status, reason, response.http_version, response.headers)
        framing = Framing(
            headers,
            bodiless=request.method == "HEAD" or response.status in BODILESS,
            http11=answer.http11,
            hold=call.mode == "strict",
        )
        head = answer.head(framing, response.status, reason)
        if response.arrived:
            piece = b"" if response.finished else await response.read()
            call.response_body.add(piece)
            await self._recorder.before_the_end(call)
            await answer.write(head + framing.piece(piece) + framing.ending())
            return
        await answer.write(head)
        while piece := await response.read():
            call.response_body.add(piece)
            await answer.write(framing.piece(piece))
        await self._recorder.before_the_end(call)
        await answer.write(framing.ending())

    async def _fail(
        self, request: web.BaseRequest, call: Capture, answer: Answer, error: OutgoingError
    ) -> web.StreamResponse:
        """The target failed: say so, or break off what was begun."""
        call.error = CallError(error.slug, str(error))
        if answer.started:
            self._recorder.now(call)
            answer.break_off()
            return self._close
        problem = problems.of_failure(error, target=call.url, call_id=call.id)
        call.status_sent = problem.status
        try:
            await self._recorder.before_the_end(call)
        except CaptureFailed as failure:
            problem = problems.CAPTURE_FAILED.of(str(failure), call=call.id)
        self._recorder.now(call)
        return self._refuse(answer, problem, close=isinstance(error, BodyFailed))

    def _refuse(self, answer: Answer, problem: Problem, *, close: bool = False) -> web.StreamResponse:
        if answer.started:
            answer.break_off()
            return self._close
        response = problem.response()
        if answer.call_id is not None:
            response.headers[CALL_ID.decode()] = answer.call_id
        if close:
            response.force_close()
        return response

    def _left(self, call: Capture, answer: Answer) -> None:
        """The client has gone, or the gateway is being stopped."""
        if answer.client_gone:
            call.error = CallError("client-disconnected", "the client closed before the answer was whole")
        else:
            call.error = CallError("gateway-failed", "the gateway was stopped before the answer was whole")
            answer.break_off()
        self._recorder.now(call)

    def _address(self, request: web.BaseRequest) -> Address:
        path = request.raw_path
        named = _named_host(request.headers.get("Host", ""), self._config.domain)
        if named is None:
            if path[:1] != "/":
                raise AddressInvalid(f"the gateway is called by path or host name; {path[:80]!r} is neither")
            return parse_path(path)
        key, host = named
        if host is None:
            return Address(key, None)
        port = request.headers.get(PORT_HEADERS[0]) or request.headers.get(PORT_HEADERS[1])
        return Address(key, host_target(self._reached_by(request), host, port, path))

    def _reached_by(self, request: web.BaseRequest) -> str:
        """The scheme by which clients reach the gateway: a proxy in front may speak TLS with them."""
        return "https" if self._config.public_url.startswith("https:") else request.scheme

    def _capture(
        self,
        request: web.BaseRequest,
        bucket: Bucket,
        target: Target | None,
        headers: RequestHeaders,
        began: float,
    ) -> Capture:
        version = request.version
        return Capture(
            id=self._ids.new(),
            bucket=bucket.key,
            mode=bucket.capture,
            began=began,
            started_at=self._clock.now(),
            method=request.method,
            url=target.url if target is not None else _own_url(self._reached_by(request), request),
            http_version="1.1" if version == HTTP11 else f"{version[0]}.{version[1]}",
            headers=headers.headers,
            cap_bytes=bucket.body_cap_bytes,
            budget=self._budget,
            client_address=request.remote,
            origin="gateway" if target is not None else "bin",
        )


def _own_url(scheme: str, request: web.BaseRequest) -> str:
    return f"{scheme}://{request.host}{request.raw_path}"


class Tapped:
    """A request's body on its way to the target, watched. Iterated once."""

    __slots__ = ("_content", "_tap")

    def __init__(self, content: StreamReader, tap: Tap) -> None:
        self._content = content
        self._tap = tap

    def __aiter__(self) -> Tapped:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._content.readany()
        if not piece:
            raise StopAsyncIteration
        self._tap.add(piece)
        return piece


@lru_cache(maxsize=4096)
def _named_host(host: str, domain: str) -> tuple[str, str | None] | None:
    """`parse_host`, with a memory: hosts repeat."""
    return parse_host(host, domain)
