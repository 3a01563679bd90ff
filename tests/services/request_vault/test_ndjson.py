"""The lines of an exported vault: everything comes back exactly, and every line is a CloudEvent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from bus.errors import BusError, Malformed
from bus.event import Event
from services.request_vault.domain import ndjson
from services.request_vault.domain.links import (
    Anchor,
    End,
    Gone,
    Identity,
    Kept,
    Seal,
    anchor,
    checksum_of,
    digest_of,
    identity_of,
)
from services.request_vault.domain.recording import DECISIONS, category_of, stream_of, to_us
from tests.services.request_vault.samples import captured, decision, order

AT_US = 1_767_225_600_123_457


def kept(event: Event, *, number: int = 1, stream: str | None = None, encoded: bytes | None = None) -> Kept:
    """As the log would keep it."""
    decided = stream is not None
    name = stream or stream_of(event)
    bare = Kept(
        partition=DECISIONS if decided else 1,
        number=number,
        stream=name,
        version=3,
        category=category_of(name) if decided else None,
        prev=number - 1 if decided and number > 1 else None,
        key=event.key,
        time_us=to_us(event.time),
        recorded_us=AT_US,
        checksum=0,
        salt=bytes(range(16)),
        digest=b"",
        event=encoded or codec.encode_event(event),
    )
    whole = msgspec.structs.replace(bare, checksum=checksum_of(bare))
    return msgspec.structs.replace(whole, digest=digest_of(whole))


FIRST, LAST = (datetime(year, 1, 2) for year in (1970, 2200))  # noqa: DTZ001 # hypothesis adds the zone
TEXTS = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
EVENTS = st.builds(
    Event,
    id=TEXTS,
    source=TEXTS,
    type=st.lists(NAMES, min_size=2, max_size=4).map(".".join),
    version=st.integers(1, 10**6),
    key=st.one_of(NAMES, st.just("_")),
    subject=st.one_of(st.none(), TEXTS),
    time=st.datetimes(min_value=FIRST, max_value=LAST, timezones=st.just(UTC)),
    data=st.one_of(st.binary(max_size=200), st.dictionaries(TEXTS, st.one_of(st.binary(), TEXTS))).map(
        lambda data: msgspec.Raw(msgspec.msgpack.encode(data))
    ),
    partitionkey=st.one_of(st.none(), TEXTS),
    correlationid=st.one_of(st.none(), TEXTS),
    causationid=st.one_of(st.none(), TEXTS),
    traceparent=st.one_of(st.none(), TEXTS),
)


@given(EVENTS)
def test_any_event_comes_back_byte_for_byte(event: Event) -> None:
    before = kept(event)
    line = ndjson.encode(before)
    assert ndjson.decode(line) == before
    assert line.count(b"\n") == 1
    assert "envelope" not in json.loads(line)


def test_an_events_line_is_the_event_and_where_it_stands() -> None:
    event = codec.decode_event(decision("a1"))
    line = json.loads(ndjson.encode(kept(event, number=7, stream="shop.thing-a")))
    digest = line.pop("digest")
    assert len(digest) == 44
    assert line == {
        "specversion": "1.0",
        "id": "a1",
        "source": "shop",
        "type": "shop.thing.decided",
        "time": "2026-01-01T00:00:00Z",
        "subject": "a1",
        "key": "_",
        "dataschema": "/schemas/shop.thing.decided/1",
        "datacontenttype": "application/msgpack",
        "position": "0:7",
        "stream": "shop.thing-a",
        "streamversion": 3,
        "prev": 6,
        "recordedtime": "2026-01-01T00:00:00.123457Z",
        "salt": "AAECAwQFBgcICQoLDA0ODw==",
        "data_base64": "gaR3aGF0omEx",
    }


def test_an_event_that_was_encoded_otherwise_brings_its_own_bytes() -> None:
    """A later version of the envelope has more fields; the digest is of what was recorded."""
    event = order(1)
    fields: list[Any] = msgspec.msgpack.decode(codec.encode_event(event))
    shorter = msgspec.msgpack.encode(fields[:8])
    before = kept(event, encoded=shorter)
    assert "envelope" in json.loads(ndjson.encode(before))
    assert ndjson.decode(ndjson.encode(before)) == before


def erased(record: Kept, by: str, why: str) -> Gone:
    identity = identity_of((record.partition, record.number), codec.decode_event(record.event), AT_US)
    bare = Gone(
        record.partition, record.number, record.stream, record.version, record.category, record.prev,
        record.digest, AT_US, by, why, 0, identity,
    )  # fmt: skip
    return msgspec.structs.replace(bare, checksum=checksum_of(bare))


def others() -> list[ndjson.Line]:
    record = kept(captured("call-1"), number=5)
    trimmed = anchor(1, 6, bytes(64), AT_US)
    return [
        ndjson.Begun(1, "sqlite", (End(0, 0, bytes(32), bytes(32)), End(1, 7, b"r" * 32, b"c" * 32)), 3),
        ndjson.BodyPiece("7xzcnsgbwox2", "ab" * 32, 1, 2, 300_000, b"\x00\xff" * 10),
        erased(record, "token-1", 'asked for "it"\n'),
        msgspec.structs.replace(trimmed, identities=(Identity(6, "i", "s", b"\x01", AT_US, 5, 9),)),
        Seal(1, 1000, b"r" * 32, b"c" * 32),
        ndjson.Ended(9, 1, 1, 2, 1),
    ]


@pytest.mark.parametrize("line", others(), ids=lambda line: type(line).__name__)
def test_every_other_line_comes_back_and_is_a_cloudevent(line: ndjson.Line) -> None:
    encoded = ndjson.encode(line)
    assert ndjson.decode(encoded) == line
    document = json.loads(encoded)
    assert document["type"].startswith(ndjson.OWN)
    assert codec.from_cloudevent(document | {"key": "_"}, received_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"type": ndjson.OWN + "else"}, "newer version"),
        ({"position": "1"}, "position"),
        ({"position": "1:-2"}, "position"),
        ({"position": "1:" + "9" * 30}, "position"),
        ({"position": None}, "position"),
        ({"stream": None}, "'stream' is missing"),
        ({"salt": "***"}, "'salt' is no base64"),
        ({"data_base64": "***"}, "'data_base64' is no base64"),
        ({"dataschema": "/schemas/x"}, "dataschema"),
        ({"recordedtime": "yesterday"}, "recordedtime"),
        ({"time": None}, "'time' is missing"),
        ({"type": "a..b"}, "a..b"),
        ({"id": ""}, "no id"),
        ({"id": 5}, "id"),
        ({"time": "2026-01-01T00:00:00"}, "zone"),
    ],
)
def test_a_line_that_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    document = json.loads(ndjson.encode(kept(order(1)))) | change
    with pytest.raises(Malformed, match=said):
        ndjson.decode(json.dumps(document).encode())


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_rubbish_is_malformed(rubbish: bytes) -> None:
    with pytest.raises(BusError):
        ndjson.decode(rubbish)


@given(st.data())
def test_a_line_cut_short_is_malformed(data: st.DataObject) -> None:
    line = ndjson.encode(data.draw(st.sampled_from([*others(), kept(order(1))])))
    with pytest.raises(Malformed):
        ndjson.decode(line[: data.draw(st.integers(0, len(line) - 2))])


def test_erased_and_trimmed_keep_their_kinds() -> None:
    kinds = [type(ndjson.decode(ndjson.encode(line))) for line in others()]
    assert Gone in kinds
    assert Anchor in kinds
