"""Log lines: their form, whose they are, which trace they belong to, and what they never hold."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from bus.message import Fact
from bus.middleware import tracing
from bus.router import Delivery, Router
from bus.testing import harness
from services.chassis import telemetry

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Happened(Fact, frozen=True):
    TYPE = "test.thing.happened"


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Lines:
    stream = io.StringIO()
    telemetry.configure("json", "info", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def log() -> Any:
    return structlog.get_logger("test")


def test_a_logger_that_spoke_follows_what_is_configured_later(lines: Lines) -> None:
    spoke_before = log()
    spoke_before.info("under the first configuration")
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as captured:
        spoke_before.info("under the second")
    assert [line["event"] for line in captured] == ["under the second"]
    assert [line["event"] for line in lines()] == ["under the first configuration"]


def test_json_lines_carry_level_time_and_fields(lines: Lines) -> None:
    log().info("call kept", count=3)
    (line,) = lines()
    assert line["event"] == "call kept"
    assert line["level"] == "info"
    assert line["count"] == 3
    assert line["timestamp"].endswith("Z")


def test_what_is_below_the_level_is_not_said(lines: Lines) -> None:
    log().debug("quiet")
    logging.getLogger("aiohttp.access").info("GET /")
    assert lines() == []


def test_libraries_lines_come_in_the_same_form(lines: Lines) -> None:
    logging.getLogger("some.library").warning("took %d s", 5)
    (line,) = lines()
    assert (line["event"], line["level"]) == ("took 5 s", "warning")


def test_a_service_is_named_on_its_own_lines_only(lines: Lines) -> None:
    with telemetry.speaking_as("courier", instance="i1"):
        log().info("inside")
    log().info("outside")
    inside, outside = lines()
    assert (inside["service"], inside["instance"]) == ("courier", "i1")
    assert "service" not in outside


def test_an_exception_is_told_without_the_values_of_variables(lines: Lines) -> None:
    hidden = "tl_" + "s3cret"
    try:
        raise KeyError(len(hidden))
    except KeyError:
        log().exception("failed")
    (line,) = lines()
    assert "KeyError" in line["exception"]
    assert "s3cret" not in json.dumps(line)


def test_pretty_lines_hide_variables_too() -> None:
    stream = io.StringIO()
    telemetry.configure("pretty", "info", stream)
    hidden = "tl_" + "s3cret"
    try:
        raise KeyError(len(hidden))
    except KeyError:
        log().exception("failed", bucket="b")
    told = stream.getvalue()
    assert "failed" in told
    assert "KeyError" in told
    assert "s3cret" not in told
    assert "\x1b[" not in told, "no colours where there is no terminal"


def test_an_edges_trace_is_on_the_lines_inside_it(lines: Lines) -> None:
    with telemetry.in_trace(TRACEPARENT):
        assert telemetry.traceparent_now() == TRACEPARENT
        log().info("inside")
    log().info("outside")
    inside, outside = lines()
    assert inside["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert inside["span_id"] == "b7ad6b7169203331"
    assert "trace_id" not in outside


@pytest.mark.parametrize(
    "wrong", ["", "00-abc-def-01", "nonsense", "00-" + "0" * 31 + "-" + "0" * 16 + "-01"]
)
def test_a_traceparent_that_is_none_is_left_out(lines: Lines, wrong: str) -> None:
    with telemetry.in_trace(wrong):
        log().info("inside")
    assert "trace_id" not in lines()[0]


async def test_handlers_lines_carry_the_events_trace_and_id(lines: Lines) -> None:
    async def on_happened(fact: Happened, delivery: Delivery) -> None:
        log().info("handling it")

    router = Router("listening")
    router.on(Happened, on_happened)
    async with harness(router) as bus:
        with telemetry.in_trace(TRACEPARENT):
            event = bus.envelop(Happened())
        await bus.emit(event)
        await bus.settled()
    handled = [line for line in lines() if line["event"] == "handling it"]
    assert [(line["trace_id"], line["handling"]) for line in handled] == [
        (TRACEPARENT.split("-")[1], event.id)
    ]


def test_the_trace_of_a_handled_event_goes_before_the_edges(lines: Lines) -> None:
    with telemetry.in_trace(TRACEPARENT):
        assert tracing.causes()[2] == TRACEPARENT
