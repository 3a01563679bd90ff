"""`trunkline vault stats`: how much the vault holds, read from its own files or database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bus import codec
from bus.clock import Clock, SystemClock
from bus.errors import Malformed, UnknownType
from schemas import identity
from schemas.identity import BucketChanged, BucketCreated, BucketDeleted, Retention
from services.chassis.config import Loaded
from services.request_vault.commands.place import Place, place_of
from services.request_vault.commands.proving import PAGE_LINKS, walk
from services.request_vault.commands.running import run
from services.request_vault.commands.telling import Teller, counted, size
from services.request_vault.domain.links import End, Kept, Link, last_number
from services.request_vault.domain.recording import DECISIONS, from_us
from services.request_vault.store.port import Archive, StoreStats


class Known(msgspec.Struct, frozen=True):
    """What the log says of a bucket. name, retention: as they are now, or were when it was deleted."""

    name: str
    retention: Retention
    deleted: bool = False


class Counts(msgspec.Struct, frozen=True):
    stats: StoreStats
    bodies: int
    bodies_bytes: int
    oldest: datetime | None
    newest: datetime | None
    buckets: dict[str, Known]


def stats(loaded: Loaded, *, as_json: bool) -> None:
    place = place_of(loaded)
    counts = run(loaded, _count(place, SystemClock()))
    if as_json:
        Teller(as_json=True).answer(_document(place, counts))
    else:
        _print(place, counts)


async def _count(place: Place, clock: Clock) -> Counts:
    async with place.archive() as archive:
        ends = await archive.ends()
        spans = [await _span(archive, end) for end in ends]
        oldest = [first.recorded_us for first, _ in spans if first is not None]
        newest = [last.recorded_us for _, last in spans if last is not None]
        bodies, bodies_bytes = await place.bodies(clock).totals()
        return Counts(
            stats=await archive.stats(),
            bodies=bodies,
            bodies_bytes=bodies_bytes,
            oldest=from_us(min(oldest)) if oldest else None,
            newest=from_us(max(newest)) if newest else None,
            buckets=await _buckets(archive, ends[DECISIONS]),
        )


async def _span(archive: Archive, end: End) -> tuple[Kept | None, Kept | None]:
    """The first and the last record of a partition that are still there. The last is looked for among the
    newest only: it is not gone."""
    newest = _kept(await archive.links(end.partition, max(0, end.number - PAGE_LINKS), PAGE_LINKS))
    if not newest:
        return None, None
    after = 0
    while page := await archive.links(end.partition, after, PAGE_LINKS):
        if oldest := _kept(page):
            return oldest[0], newest[-1]
        after = last_number(page[-1])
    return newest[0], newest[-1]


def _kept(links: list[Link]) -> list[Kept]:
    return [link for link in links if isinstance(link, Kept)]


async def _buckets(archive: Archive, end: End) -> dict[str, Known]:
    found: dict[str, Known] = {}
    async for page in walk(archive, end):
        for link in _kept(page):
            if link.category == identity.CATEGORY:
                _fold(found, link)
    return found


def _fold(found: dict[str, Known], kept: Kept) -> None:
    try:
        event = codec.decode_event(kept.event)
        if event.type == BucketCreated.TYPE:
            made = event.read(BucketCreated)
            found[made.key] = Known(made.name, made.retention)
        elif event.type == BucketChanged.TYPE:
            changed = event.read(BucketChanged)
            found[changed.key] = Known(changed.name, changed.retention)
        elif event.type == BucketDeleted.TYPE and (key := event.read(BucketDeleted).key) in found:
            found[key] = msgspec.structs.replace(found[key], deleted=True)
    except (Malformed, UnknownType):
        return  # of a newer version: it is counted, but its name is not told


def _document(place: Place, counts: Counts) -> dict[str, Any]:
    stats = counts.stats
    return {
        "vault": place.shown,
        "engine": place.engine,
        "events": stats.events,
        "calls": stats.calls,
        "bodies": counts.bodies,
        "database_bytes": stats.size_bytes,
        "bodies_bytes": counts.bodies_bytes,
        "oldest": _time(counts.oldest),
        "newest": _time(counts.newest),
        "retention": msgspec.to_builtins(_installation(place)),
        "models": [msgspec.to_builtins(model) for model in stats.models],
        "text_behind": stats.text_behind,
        "partitions": list(stats.partitions),
        "published_to": stats.published_to,
        "buckets": [
            {
                "key": usage.bucket,
                "name": known.name if known else None,
                "deleted": known.deleted if known else False,
                "events": usage.records,
                "calls": usage.calls,
                "bytes": usage.bytes,
                "retention": msgspec.to_builtins(known.retention) if known else None,
            }
            for usage in stats.usage
            for known in (counts.buckets.get(usage.bucket),)
        ],
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _print(place: Place, counts: Counts) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    stats = counts.stats
    console.print(Text(f"{place.shown} ({place.engine})", style="bold"))
    gone = sum(stats.partitions) - sum(usage.records for usage in stats.usage) - stats.partitions[DECISIONS]
    rows = [
        ("events", f"{stats.events} recorded" + (f", {gone} of them gone" if gone > 0 else "")),
        ("calls", str(stats.calls)),
        ("bodies", f"{counts.bodies}, {size(counts.bodies_bytes)}"),
        ("database", size(stats.size_bytes)),
        ("oldest", _local(counts.oldest)),
        ("newest", _local(counts.newest)),
        ("kept for", _retention(_installation(place))),
    ]
    for model in stats.models:
        if model.state == "rebuilding":
            rows.append((f"model {model.name}", f"is built anew: {model.done} of {model.of}"))
    if stats.text_behind:
        rows.append(("text index", f"lacks the newest {counted(stats.text_behind, 'call')}"))
    waiting = stats.partitions[DECISIONS] - stats.published_to
    if waiting > 0:
        rows.append(("waiting", f"{counted(waiting, 'decision')} not on the bus yet"))
    facts = Table(box=None, pad_edge=False, show_header=False)
    for name, said in rows:
        facts.add_row(Text(name, style="dim"), Text(said))
    console.print(facts)
    if not stats.usage:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("bucket", "name"):
        table.add_column(title)
    for title in ("events", "calls", "bytes"):
        table.add_column(title, justify="right")
    table.add_column("kept for")
    for usage in stats.usage:
        known = counts.buckets.get(usage.bucket)
        name = "" if known is None else known.name + (" (deleted)" if known.deleted else "")
        kept = "" if known is None else _retention(known.retention)
        table.add_row(
            usage.bucket, Text(name), str(usage.records), str(usage.calls), size(usage.bytes), Text(kept)
        )
    console.print()
    console.print(table)


def _installation(place: Place) -> Retention:
    """The limits that hold whatever a bucket's own are."""
    config = place.config
    return Retention(config.retention_age_s, config.retention_calls, config.retention_bytes)


def _retention(retention: Retention) -> str:
    limits = []
    if retention.max_age_s is not None:
        limits.append(_age(retention.max_age_s))
    if retention.max_calls is not None:
        limits.append(counted(retention.max_calls, "call"))
    if retention.max_bytes is not None:
        limits.append(size(retention.max_bytes))
    return ", ".join(limits) or "ever"


def _age(seconds: int) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length_s and seconds % length_s == 0:
            return f"{seconds // length_s} {unit}"
    return f"{seconds} s"


def _local(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
