"""What is not what it claims gets a clear error that names it, and loses nothing."""

from __future__ import annotations

import pytest

import bus
from bus import codec
from bus.message import Subscription
from bus.transport import Frame
from tests.conformance.houses import House, empty, opened
from tests.conformance.messages import NUMBERS, Drawn
from tests.conformance.recording import Recorder
from tests.conformance.test_parking import parked

TOPIC = "test.number.drawn._"


async def test_a_frame_that_is_no_msgpack_is_parked_as_it_came(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        sent = Frame(b'{"json": true}', (TOPIC,), "application/json", {"cloudEvents:id": "1"})
        await b.transport.publish(sent)
        await b.publish(Drawn(1))
        await recorder.has_handled(1)
        [only] = await parked(b, 1)
        await empty(b, "numbers")
    assert "is no batch of events" in only.reason
    assert (only.fact.frame, only.fact.topics) == (sent.body, sent.topics)
    assert (only.fact.content_type, only.fact.headers) == (sent.content_type, sent.headers)
    assert only.events() == []


async def test_an_event_without_id_is_parked_and_the_others_of_its_batch_handled(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        events = [codec.encode_event(b.envelop(Drawn(number), id="x")) for number in range(3)]
        events[1] = events[1].replace(b"\xa1x", b"\xa0", 1)
        events[2] = events[2].replace(b"\xa1x", b"\xa1y", 1)
        await b.transport.publish(Frame(codec.join_batch(events), (TOPIC,)))
        await recorder.has_handled(0, 2)
        [only] = await parked(b, 1)
    assert "has no id" in only.reason
    assert only.fact.frame == codec.join_batch(events[1:2])


async def test_an_unknown_type_is_parked(house: House) -> None:
    recorder = Recorder(Subscription("numbers", ("test.#",)))
    async with opened(house) as b, b.serve(recorder.router):
        await b.emit(bus.Event("u-1", "later", "test.number.divided", 1, "_", None, b.clock.now()))
        await b.emit(bus.Event("u-2", "later", "test.number.drawn", 9, "_", None, b.clock.now()))
        both = await parked(b, 2)
    reasons = {each.fact.event_id: each.reason for each in both}
    assert reasons["u-1"] == "subscription numbers has no handler for test.number.divided._"
    assert "version 9" in reasons["u-2"]


async def test_data_that_do_not_fit_name_the_field(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await b.emit(bus.Event("u-1", "other", "test.number.drawn", 1, "_", None, b.clock.now()))
        [only] = await parked(b, 1)
    assert "number" in only.reason


@pytest.mark.parametrize("pattern", ["", "a..b", "a.b*", "#.x y", "a" * 256])
async def test_a_pattern_that_is_no_pattern_is_refused(house: House, pattern: str) -> None:
    async with opened(house) as b:
        with pytest.raises(bus.TopicInvalid, match="pattern"):
            await b.declare(Subscription("bad", (pattern,)))
        await b.declare(NUMBERS)
        await b.publish(Drawn(1))


async def test_patterns_may_change_with_a_new_version(house: House) -> None:
    """What the subscription no longer means stops coming; what it means now comes."""
    async with opened(house, declare=[Subscription("numbers", ("test.number.drawn.us",))]) as b:
        with pytest.raises(bus.NotRouted):
            await b.publish(Drawn(1), key="eu")
    recorder = Recorder(Subscription("numbers", ("test.number.drawn.eu",)))
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(Drawn(2), key="eu")
        await recorder.has_handled(2)
    assert recorder.tried == [2]
