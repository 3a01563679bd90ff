"""Ask and answer: a question or command over the bus with one reply and a deadline.

The asking side encodes the ask as an event's envelope (so that causation and trace travel along) and waits
for one reply; the answering side runs the router's handler. A reply's body is the msgpack array `[FORMAT,
outcome, ...]`: `["ok", reply]`, `["refused", reason, detail]`, `["unavailable", detail]` or `["failed",
detail]`. Nothing here is retried, logged or parked.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog

from bus import codec
from bus.errors import AskFailed, BusError, Malformed, Refused, TooLarge, Unavailable, trace_of
from bus.event import Event
from bus.message import Ask
from bus.middleware import tracing
from bus.router import Delivery, Route, Router
from bus.transport import Frame

if TYPE_CHECKING:
    from bus.connect import Bus

R = TypeVar("R")

FORMAT = 1

_log = structlog.get_logger("bus")
_encoder = msgspec.msgpack.Encoder()
_outcome_decoder = msgspec.msgpack.Decoder(tuple[int, str, msgspec.Raw, str])


def encode_ok(reply: Any) -> bytes:
    """Raises TooLarge over MAX_FRAME_BYTES."""
    body = _encoder.encode((FORMAT, "ok", reply, ""))
    if len(body) > codec.MAX_FRAME_BYTES:
        raise TooLarge(f"the reply has {len(body)} bytes; the limit is {codec.MAX_FRAME_BYTES}")
    return body


def encode_failure(outcome: str, reason: str, detail: str) -> bytes:
    return _encoder.encode((FORMAT, outcome, reason, detail))


def read_reply(body: bytes, ask: Ask[R]) -> R:
    """The typed reply. Raises Refused, Unavailable, AskFailed, or Malformed when the reply is not what the
    ask promises."""
    try:
        version, outcome, content, detail = _outcome_decoder.decode(body)
        if version != FORMAT:
            raise Malformed(f"the reply to {ask.TYPE} has format {version}; this version reads {FORMAT}")
        if outcome == "ok":
            reply: R = _reply_decoder(type(ask)).decode(content)
            return reply
        reason = msgspec.msgpack.decode(content, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the reply to {ask.TYPE} cannot be read: {error}") from error
    if outcome == "refused":
        raise Refused(reason, detail)
    if outcome == "unavailable":
        raise Unavailable(detail)
    raise AskFailed(f"{ask.TYPE} failed at the answering side: {detail}")


@lru_cache(maxsize=1024)
def _reply_decoder(ask: type[Ask[Any]]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(ask.reply_type())


async def answer(frame: Frame, route: Route, router: Router, bus: Bus) -> bytes:
    """Run one ask's handler and encode how it went. Never raises, except to be cancelled."""
    try:
        event = codec.decode_batch(frame.body)[0]
        return encode_ok(await _handled(event, route, router, bus))
    except Refused as error:
        return encode_failure("refused", error.reason, error.detail)
    except (Malformed, IndexError) as error:
        return encode_failure("refused", "malformed", str(error))
    except Unavailable as error:
        return encode_failure("unavailable", "", str(error))
    except TimeoutError:
        return encode_failure("failed", "", f"no answer within {router.deadline_s:g} s")
    except Exception as error:
        if not isinstance(error, BusError):
            _log.error("answering failed", ask=route.pattern, trace=trace_of(error))
        return encode_failure("failed", "", f"{type(error).__name__}: {error}")


async def _handled(event: Event, route: Route, router: Router, bus: Bus) -> Any:
    assert route.message is not None
    delivery = Delivery(event, 0, router.name, bus)
    token = tracing.CAUSE.set(event)
    try:
        async with asyncio.timeout(router.deadline_s):
            return await route.handler(event.read(route.message), delivery)
    finally:
        tracing.CAUSE.reset(token)
