"""What a process says about itself: structured logs, with the trace they belong to.

Called once by the command line (`configure`), and by the host around each service (`speaking_as`). Lines
carry the service's name and the trace id of the event or request that is being handled, taken from the bus's
trace context or, where an OpenTelemetry SDK runs in the process, from its current span. Log lines of
libraries come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from bus.middleware import tracing

Format = Literal["pretty", "json"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
QUIETER = ("asyncio", "aio_pika", "aiohttp.access")  # chatty below warning
MUTE = ("aiormq",)  # logs as errors what it raises and the bus then reports


def configure(form: Format, level: str, stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream` (standard error) in one form. Once, before anything is
    logged."""
    stream = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=_plain_exception)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for name in QUIETER:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    for name in MUTE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a module's logger follows what is configured later, as in a test
    )


@contextmanager
def speaking_as(service: str, **more: str) -> Iterator[None]:
    """Log lines of this task, and of the tasks it starts, name the service."""
    with structlog.contextvars.bound_contextvars(service=service, **more):
        yield


def add_trace(logger: Any, method: str, event_dict: EventDict) -> EventDict:
    """A structlog processor: `trace_id` and `span_id` (W3C Trace Context) of what is being handled, and the
    event."""
    traceparent = traceparent_now()
    if traceparent is not None:
        _, event_dict["trace_id"], event_dict["span_id"], _ = traceparent.split("-", 3)
    cause = tracing.CAUSE.get()
    if cause is not None:
        event_dict.setdefault("handling", cause.id)
    return event_dict


def traceparent_now() -> str | None:
    """The `traceparent` of what is being handled, well-formed, or None."""
    cause = tracing.CAUSE.get()
    found = (cause.traceparent if cause is not None else None) or tracing.TRACEPARENT.get()
    if found is not None:
        parts = found.split("-")
        return found if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16 else None
    if "opentelemetry.sdk" not in sys.modules:
        return None  # without an SDK the API knows no spans; asking it would only cost its import
    from opentelemetry import trace

    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else None


@contextmanager
def in_trace(traceparent: str | None) -> Iterator[None]:
    """Where a trace enters the system (an edge's request, a timer): what is published and asked inside
    belongs to it. An OpenTelemetry SDK in the process sees it as the parent of its spans."""
    token = tracing.TRACEPARENT.set(traceparent)
    try:
        if traceparent is None or "opentelemetry.sdk" not in sys.modules:
            yield
            return
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        attached = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
        try:
            yield
        finally:
            context.detach(attached)
    finally:
        tracing.TRACEPARENT.reset(token)


def _plain_exception(stream: TextIO, exc_info: Any) -> None:
    """A traceback without the values of local variables, which may hold secrets."""
    structlog.dev.plain_traceback(stream, exc_info)
