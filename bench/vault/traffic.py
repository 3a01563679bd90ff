"""Calls as three busy teams would capture them: the same ones every time, whole or to a size of bytes.

Read by every measurement of the vault. A call's id, bucket and time follow from its number alone, so that a
program that did not write the calls knows what to ask for. Ids are UUIDv7-like: they grow with time, as those
of a gateway do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from bus import codec
from bus.event import Event
from schemas.traffic_gateway import Body, CallCaptured, CallError, CapturedRequest, CapturedResponse, Timings

SEED = 20260101
START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=200)
START_MS = int(START.timestamp() * 1000)

BUCKETS = ("7xzcnsgbwox2", "k2m9qpd4vh3s", "w8e5tyb6ruj1")
SERVICES = ("shop", "billing", "search", "users", "media", "stock", "mail", "maps", "auth", "reports")
HOSTS = tuple(f"{service}.{domain}" for service in SERVICES for domain in ("example.com", "example.org"))
NOUNS = ("orders", "items", "carts", "customers", "invoices", "payments", "shipments", "reviews")
TEMPLATES = tuple(
    f"/v{version}/{noun}{rest}"
    for version in (1, 2)
    for noun in NOUNS
    for rest in ("", "/{}", "/{}/lines", "/{}/history/{}")
)[:40]
METHODS = ("GET",) * 14 + ("POST",) * 4 + ("PUT", "DELETE")
STATUSES = (
    (200,) * 160 + (201,) * 14 + (204,) * 6 + (304,) * 4 + (404,) * 8 + (401, 403, 409, 422) + (500, 503)
)
STATUSES_5XX = (500, 502, 503, 504)
SYLLABLES = ("ba", "co", "du", "fi", "ga", "he", "jo", "ka", "li", "mo", "nu", "pe", "ro", "sa", "te", "vi")
WORDS = tuple(a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES[:8])
PHRASES = ("out of stock", "payment was declined", "address is unknown", "limit of requests reached")
"""In about one body of 100, 1 000, 10 000 and 100 000."""
RARITIES = (100, 1_000, 10_000, 100_000)

SHORTEST, LONGEST = 32, 255
"""Lengths of a filling between which its own length takes one byte (msgpack's str 8)."""
CHUNK = 1000
_MASK = 2**64 - 1


def _mixed(number: int) -> int:
    """splitmix64: 64 bits that look random, always the same for a number."""
    mixed = (number * 0x9E3779B97F4A7C15 + SEED) & _MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return mixed ^ mixed >> 31


def id_of(number: int, space: int = 0) -> str:
    """`space` keeps ids of one number apart: 0 for calls, 1 for their events."""
    mixed = _mixed(number * 2 + space)
    low = f"{mixed:016x}"
    head = f"{START_MS + number * 200:012x}"
    return f"{head[:8]}-{head[8:]}-7{number & 0xFFF:03x}-8{low[:3]}-{low[3:15]}"


def bucket_of(number: int) -> str:
    """Half of the calls are in the first bucket, a sixth in the last."""
    return BUCKETS[(0, 0, 0, 1, 1, 2)[_mixed(number) % 6]]


def calls(count: int, first: int = 0) -> Iterator[Event]:
    """Calls number `first` and following, about 1.3 kB each."""
    for chunk in range(first // CHUNK, (first + count - 1) // CHUNK + 1):
        random = Random(SEED + chunk)
        for number in range(chunk * CHUNK, (chunk + 1) * CHUNK):
            event = _event(number, _call(number, random))
            if first <= number < first + count:
                yield event


def sized_calls(count: int, size_bytes: int, first: int = 0) -> Iterator[Event]:
    """Calls of exactly `size_bytes` as the bus and the log encode them, filled up by a word in the answer.
    Raises ValueError when they do not fit."""
    for number in range(first, first + count):
        yield _sized(number, size_bytes)


def batches(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _event(number: int, call: CallCaptured) -> Event:
    return Event(
        id_of(number, 1),
        "traffic_gateway",
        CallCaptured.TYPE,
        CallCaptured.VERSION,
        call.bucket,
        call.id,
        call.started_at,
        codec.encode_data(call),
    )


def _call(number: int, random: Random) -> CallCaptured:
    method = random.choice(METHODS)
    status = random.choice(STATUSES)
    if random.random() < 0.01:
        status = random.choice(STATUSES_5XX)
    host = random.choice(HOSTS)
    path = random.choice(TEMPLATES)
    while "{}" in path:
        path = path.replace("{}", str(random.randrange(100_000)), 1)
    duration_ms = random.lognormvariate(3.7, 0.9)
    failed = status == 504
    sent = _body(number, random, 120) if method in ("POST", "PUT") else Body()
    answered = Body() if status in (204, 304) else _body(number, random, 400)
    request_headers = (
        ("Host", host),
        ("User-Agent", "shop-client/4.2"),
        ("Accept", "application/json"),
        ("X-Request-Id", f"{_mixed(number):016x}"),
    )
    response_headers = (
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Length", str(answered.size_bytes)),
        ("Server", "nginx"),
    )
    return CallCaptured(
        id=id_of(number),
        bucket=bucket_of(number),
        started_at=START + number * STEP,
        duration_ms=round(duration_ms, 3),
        request=CapturedRequest(
            method, f"https://{host}{path}?page={number % 50}", "1.1", request_headers, sent
        ),
        response=None if failed else CapturedResponse(status, "", "1.1", response_headers, answered),
        error=CallError("upstream-timeout", "no answer within 30 s") if failed else None,
        timings=Timings(send_ms=0.1, wait_ms=round(duration_ms, 3)),
        status_sent=status,
    )


def _body(number: int, random: Random, about_bytes: int) -> Body:
    words = random.choices(WORDS, k=about_bytes // 8)
    for phrase, rarity in zip(PHRASES, RARITIES, strict=True):
        if _mixed(number + rarity) % rarity == 0:
            words[len(words) // 2 :] = [phrase, *words[len(words) // 2 + 2 :]]
    document = {"id": number, "state": words[0], "total_cents": number * 37 % 99_991, "note": " ".join(words)}
    return _inline(msgspec.json.encode(document))


def _inline(data: bytes) -> Body:
    return Body(len(data), len(data), hashlib.sha256(data).hexdigest(), data)


def _sized(number: int, size_bytes: int) -> Event:
    missing = size_bytes - len(codec.encode_event(_event(number, _small_call(number, SHORTEST))))
    if not 0 <= missing <= LONGEST - SHORTEST:
        raise ValueError(f"call {number} cannot be made {missing} bytes longer")
    return _event(number, _small_call(number, SHORTEST + missing))


def _small_call(number: int, filling: int) -> CallCaptured:
    host = HOSTS[number % len(HOSTS)]
    path = TEMPLATES[number % len(TEMPLATES)].replace("{}", f"{_mixed(number) % 1_000_000:06d}")
    return CallCaptured(
        id=id_of(number),
        bucket=bucket_of(number),
        started_at=START + number * STEP,
        duration_ms=12.5,
        request=CapturedRequest(METHODS[number % len(METHODS)], f"https://{host}{path}", "1.1", (), Body()),
        response=CapturedResponse(
            STATUSES[number * 7 % len(STATUSES)], "", "1.1", (("X", "x" * filling),), Body()
        ),
        error=None,
        timings=Timings(wait_ms=10.0),
        status_sent=200,
    )
