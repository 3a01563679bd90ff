"""One request's way: to the bucket and target that its address means, and the answer back.

Requests and responses are streamed both ways, and each side's pace holds the other back. Nothing is decoded
or re-encoded. Every call ends in exactly one capture, however it ends: answered, failed, or left by its
client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from aiohttp import StreamReader, web

from bus.clock import Clock
from bus.errors import BusError
from bus.ids import Ids
from schemas.identity import Bucket
from schemas.traffic_gateway import CallError
from services.calls.address import AddressInvalid, Target
from services.chassis.access import Addressed
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
from services.traffic_gateway.domain.bodies import Budget, Tap
from services.traffic_gateway.domain.capture import Capture, Headed
from services.traffic_gateway.domain.framing import BODILESS, Framing
from services.traffic_gateway.domain.headers import CALL_ID, RawHeader, RequestHeaders, ResponseHeaders
from services.traffic_gateway.domain.location import relocated
from services.traffic_gateway.domain.loops import Loops
from services.traffic_gateway.domain.sampling import is_kept
from services.traffic_gateway.edge import problems
from services.traffic_gateway.edge.addressing import Addresses, Called
from services.traffic_gateway.edge.answering import HTTP11, Answer, Written
from services.traffic_gateway.edge.bin import echo
from services.traffic_gateway.edge.bounding import within
from services.traffic_gateway.edge.permitting import check_host, check_token
from services.traffic_gateway.edge.playback import Asks, Playback
from services.traffic_gateway.edge.recording import CaptureFailed, Recorder
from services.traffic_gateway.edge.redacting import Redacting
from services.traffic_gateway.edge.tunnel import Tunnels
from services.traffic_gateway.edge.websocket import SWITCHING, WebSockets


class KnowsBuckets(Protocol):
    """`chassis.access.Access`, as far as it is used here."""

    async def addressed(self, address: str) -> Addressed | None: ...


class Gateway:
    """The handler of the server: `await gateway(request)`."""

    def __init__(
        self,
        config: Config,
        buckets: KnowsBuckets,
        outgoing: Outgoing,
        trusting: Outgoing,
        recorder: Recorder,
        redacting: Redacting,
        clock: Clock,
        ids: Ids,
        asks: Asks,
    ) -> None:
        """trusting: takes any certificate, for buckets that ask for it; its connections are its own."""
        self._config = config
        self._buckets = buckets
        self._outgoing = outgoing
        self._trusting = trusting
        self._recorder = recorder
        self._redacting = redacting
        self._clock = clock
        self._ids = ids
        self._addresses = Addresses(config.domain, config.public_url)
        self._loops = Loops(config.domain, config.public_url, ids.new())
        self._sockets = WebSockets(recorder, clock, config.idle_timeout_s)
        self._tunnels = Tunnels(outgoing, recorder, clock, config.idle_timeout_s)
        self._budget = Budget(config.capture_memory_bytes)
        self._playback = Playback(asks, recorder, self._budget)
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
            called = self._addresses.of(request)
            key = called.key
            addressed = await self._buckets.addressed(key)
            if addressed is None and called.proxied:
                raise problems.proxy_auth_required(f"no bucket has the key {key!r}, the proxy's user name")
            if addressed is None:
                raise problems.BUCKET_UNKNOWN.of(f"no bucket has the key {key!r}", key=key)
            check_token(addressed, called.secret, proxied=called.proxied)
            return await self._answer(request, addressed.bucket, called, began)
        except AddressInvalid as error:
            return problems.ADDRESS_INVALID.of(str(error)).response()
        except Problem as problem:
            return problem.response()
        except BusError as error:
            return problems.of_bus(error, key).response()

    async def _answer(
        self, request: web.BaseRequest, bucket: Bucket, called: Called, began: float
    ) -> web.StreamResponse:
        """Every way out of here is one capture, unless the bucket keeps none."""
        target = called.target
        host = request.headers.get("Host", "") if target is None else target.authority.text
        host_raw = host.encode("utf-8", "surrogateescape")
        headers = RequestHeaders(request.raw_headers, host_raw, called.websocket)
        headers.headers.extend(called.authorization(request))
        if headers.size_bytes > self._config.max_head_bytes:
            limit = self._config.max_head_bytes
            raise problems.HEAD_TOO_LARGE.of(f"{headers.size_bytes} bytes of headers; the limit is {limit}")
        if target is not None and self._loops.may_begin(target):
            headers.headers.append(self._loops.mark)
        call = self._capture(request, bucket, called, headers, began)
        answer = Answer(request, call.id if call.mode != "off" else None)
        if bucket.rewrite_location and target is not None:
            answer.relocate = self._relocating(request, called, target)
        try:
            if target is not None and called.playback_id is None:
                check_host(bucket, target.authority.host)
            async with within(self._config.total_timeout_s):
                if called.playback_id is not None:
                    await self._playback.answer(request, bucket.key, called.playback_id, call, answer)
                elif called.tunnel and target is not None:
                    await self._tunnels.relay(request, target.authority, call, answer)
                elif target is None:
                    await echo(request, call, answer, self._recorder)
                else:
                    await self._relay(request, bucket, target, headers, call, answer)
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
        self,
        request: web.BaseRequest,
        bucket: Bucket,
        target: Target,
        headers: RequestHeaders,
        call: Capture,
        answer: Answer,
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
            headers.upgrade,
        )
        async with self._outgoing_of(bucket).send(sending, answer.inform) as response:
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
        if response.status == SWITCHING:
            await self._sockets.relay(request, response, reason, call, answer)
            return
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

    def _relocating(
        self, request: web.BaseRequest, called: Called, target: Target
    ) -> Callable[[Iterable[RawHeader]], list[RawHeader]] | None:
        """What turns redirects to the gateway again; a forward proxy's client comes again by itself."""
        way = self._addresses.way(request, called)
        if way is None:
            return None
        return lambda headers: relocated(headers, target, way, self._loops.may_begin)

    def _outgoing_of(self, bucket: Bucket) -> Outgoing:
        return self._outgoing if bucket.verify_tls else self._trusting

    def _capture(
        self,
        request: web.BaseRequest,
        bucket: Bucket,
        called: Called,
        headers: RequestHeaders,
        began: float,
    ) -> Capture:
        version = request.version
        id = self._ids.new()
        return Capture(
            id=id,
            bucket=bucket.key,
            mode=bucket.capture if is_kept(id, bucket.sampling) else "off",
            began=began,
            started_at=self._clock.now(),
            method=request.method,
            url=called.url,
            http_version="1.1" if version == HTTP11 else f"{version[0]}.{version[1]}",
            headers=headers.headers,
            cap_bytes=0 if called.tunnel else bucket.body_cap_bytes,
            budget=self._budget,
            redactor=self._redacting.redactor(bucket),
            client_address=request.remote,
            origin=called.origin,
        )


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
