"""The text index: which calls hold which words. Rows of a table beside the log (`text_tables`), put in
behind it.

A token carries the number of its bucket and that of its shard, SHARD_CALLS consecutive numbers
(`3=17=stock`): so a phrase is looked up in its bucket only, and shard by shard from the newest on, whatever
the others hold. A row goes with its record, in the same transaction. To build the index anew, rows are put
in again, from the first on, while the old ones answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.request_vault import ModelState, Position
from services.calls.query import Words
from services.calls.words import Streams, Wanted, tsvector, wanted
from services.request_vault.store.port import CallText, LateText, TextSource, TextStep
from services.request_vault.store.postgres import text_tables
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.ledger import Ledger, Progress
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.places import NUMBER_MASK, first_place, position_of
from services.request_vault.store.postgres.rows import columns_of, restored, stored
from services.request_vault.store.postgres.schema import WORDS_VERSION

TEXT = "text"
SHARD_CALLS = 2048
FIRST_SHARDS = 1
MOST_SHARDS = 128
STEP_BYTES = 1024 * 1024
LATE_MOST = 10_000
"""So many are remembered; the bodies of more are not searched until the index is built anew."""

NEW = 0
RENEWED = 1

_COLUMNS = ("url", "headers", "named", "bodies")
_PUT = """
INSERT INTO {table} (place, url, headers, named, bodies)
SELECT w.place, w.url::tsvector, w.headers::tsvector, w.named::tsvector, w.bodies::tsvector
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
w (place, url, headers, named, bodies)
WHERE EXISTS (SELECT FROM {call} c WHERE c.place = w.place)
ON CONFLICT (place) DO UPDATE SET url = excluded.url, headers = excluded.headers, named = excluded.named,
bodies = excluded.bodies
"""

_WHERE = """
SELECT 'text_' || answering, (SELECT number FROM text_bucket WHERE name = $1) FROM text_table
"""


class Texts:
    """What a search asks, inside its reading transaction."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def reach(self, connection: Connection, partition: int) -> int:
        """The place up to which calls of a partition are in the index. A search by words sees none behind."""
        number: int = await connection.fetchval(
            "SELECT reached FROM text_progress WHERE partition = $1", partition
        )
        return first_place(partition) | number

    async def places(
        self,
        connection: Connection,
        phrase: Words,
        bucket: str,
        first: int,
        before: int,
        most: int,
        *,
        newest_first: bool,
    ) -> list[int]:
        """The calls of a bucket that hold the phrase, `first` <= place < `before`, in order, the first
        `most` of them. Calls that were deleted since may be among them."""
        table, of_bucket = await connection.fetchrow(_WHERE, stored(bucket)) or (None, None)
        if of_bucket is None or before <= first:
            return []
        sought = wanted(phrase)
        holds = " OR ".join(f"{column} @@ q.sought::tsquery" for column in sought.streams)
        found: list[int] = []
        for shards in _groups(first, before, newest_first):
            # Shard by shard: one query over all would compare each candidate with the phrase of each shard.
            # The sum keeps the planner from walking the places.
            rows = await connection.fetch(
                f"""SELECT t.place FROM unnest($1::text[]) q (sought), LATERAL (
                    SELECT place FROM {table} WHERE ({holds}) AND place + 0 >= $2 AND place + 0 < $3 OFFSET 0
                ) t""",
                [_tsquery(sought, _mark(of_bucket, shard)) for shard in shards],
                first,
                before,
            )
            found += sorted((row[0] for row in rows), reverse=newest_first)
            if len(found) >= most:
                break
        return found[:most]


def behind(ledger: Ledger) -> int:
    return sum(
        max(0, number - ledger.texts[partition].reached)
        for partition, number in enumerate(ledger.numbers)
        if partition
    )


def model(ledger: Ledger) -> ModelState:
    """Counted in numbers of the log."""
    of = done = 0
    for progress in ledger.texts.values():
        of += progress.reached
        done += progress.renewed if _is_outdated(progress) else progress.reached
    outdated = any(map(_is_outdated, ledger.texts.values()))
    return ModelState(TEXT, WORDS_VERSION, "rebuilding" if outdated else "ready", done, of)


def is_of_other_version(ledger: Ledger) -> bool:
    """Whether some of it is, and nothing has begun to put it in anew."""
    return any(
        progress.version != WORDS_VERSION and not _is_outdated(progress) for progress in ledger.texts.values()
    )


async def outdate(connection: Connection) -> None:
    """Have everything put in anew."""
    await connection.execute(
        """UPDATE text_progress SET renewed = 0, renew_to = reached,
        version = CASE WHEN reached = 0 THEN $1 ELSE version END WHERE renewed >= renew_to""",
        WORDS_VERSION,
    )


async def unindexed(
    connection: Connection, generations: Generations, ledger: Ledger, limit: int
) -> TextStep | None:
    """`Store.unindexed`."""
    for partition, progress in sorted(ledger.texts.items()):
        head = ledger.numbers[partition]
        if progress.reached < head:
            step = await _step(connection, generations, partition, NEW, progress.reached, head, limit)
            return step
    for partition, progress in sorted(ledger.texts.items()):
        if _is_outdated(progress):
            return await _step(
                connection, generations, partition, RENEWED, progress.renewed, progress.renew_to, limit
            )
    return None


async def put(
    connection: Connection,
    generations: Generations,
    step: TextStep,
    through: Position,
    texts: Sequence[CallText],
) -> None:
    """`Store.index_texts`, inside an upkeep transaction: calls that went meanwhile are not put in."""
    partition, number = through
    await _put_texts(connection, generations, texts)
    if step.target == NEW:
        await connection.execute(
            "UPDATE text_progress SET reached = greatest(reached, $2) WHERE partition = $1", partition, number
        )
    else:
        await connection.execute(
            """UPDATE text_progress SET renewed = greatest(renewed, $2),
            version = CASE WHEN $2 >= renew_to THEN $3 ELSE version END WHERE partition = $1""",
            partition,
            number,
            WORDS_VERSION,
        )


async def replace(connection: Connection, generations: Generations, texts: Sequence[CallText]) -> None:
    """`Store.replace_texts`: of calls that are remembered as late."""
    places = [_place(text.position) for text in texts]
    rows = await connection.fetch("DELETE FROM text_late WHERE place = ANY ($1) RETURNING place", places)
    late = {row[0] for row in rows}
    await _put_texts(connection, generations, [text for text in texts if _place(text.position) in late])


async def late(
    connection: Connection, after: Position | None, limit: int, now_us: int
) -> tuple[LateText, ...]:
    """`Store.late_texts`."""
    await connection.execute("DELETE FROM text_late WHERE until_us <= $1", now_us)
    rows = await connection.fetch(
        "SELECT place, bucket, missing FROM text_late WHERE place > $1 ORDER BY place LIMIT $2",
        0 if after is None else _place(after),
        limit,
    )
    return tuple(
        LateText(position_of(place), restored(bucket), tuple(map(restored, missing)))
        for place, bucket, missing in rows
    )


async def sources(
    connection: Connection, generations: Generations, positions: Sequence[Position]
) -> tuple[TextSource, ...]:
    """`Store.text_sources`."""
    rows = await connection.fetch(
        f"""SELECT c.place, r.recorded_us, r.event FROM {generations.call} c
        JOIN record r ON r.class = c.class AND r.day = c.day AND r.place = c.place
        WHERE c.place = ANY ($1) ORDER BY c.place""",
        [_place(position) for position in positions],
    )
    return tuple(TextSource(position_of(row[0]), row[1], row[2]) for row in rows)


async def _step(
    connection: Connection,
    generations: Generations,
    partition: int,
    target: int,
    after: int,
    until: int,
    limit: int,
) -> TextStep:
    base = first_place(partition)
    rows = await connection.fetch(
        f"""SELECT c.place, r.recorded_us, r.event FROM {generations.call} c
        JOIN record r ON r.class = c.class AND r.day = c.day AND r.place = c.place
        WHERE c.place > $1 AND c.place <= $2 ORDER BY c.place LIMIT $3""",
        base | after,
        base | until,
        limit,
    )
    kept = rows[: _fitting([len(row[2]) for row in rows])]
    whole = len(kept) == len(rows) < limit
    through = until if whole else kept[-1][0] & NUMBER_MASK
    calls = tuple(TextSource(position_of(row[0]), row[1], row[2]) for row in kept)
    return TextStep(target, (partition, through), calls, more=not whole)


async def _put_texts(connection: Connection, generations: Generations, texts: Sequence[CallText]) -> None:
    if not texts:
        return
    buckets = await _bucket_numbers(connection, sorted({stored(text.bucket) for text in texts}))
    rows = []
    for text in texts:
        mark = _mark(buckets[stored(text.bucket)], text.position[1] // SHARD_CALLS)
        rows.append((_place(text.position), *(tsvector(each) for each in _marked(text.streams, mark))))
    for table in (await text_tables.load(connection)).written:
        await connection.execute(_PUT.format(table=table, call=generations.call), *columns_of(rows, 5))
        # What the index keeps in its pending list is read through by every look into a shard.
        await connection.execute("SELECT gin_clean_pending_list($1::text::regclass)", f"{table}_words")
    if missing := [text for text in texts if text.missing]:
        remembered = await connection.fetchval("SELECT count(*) FROM text_late")
        late_rows: list[tuple[Any, ...]] = [
            (
                _place(text.position),
                stored(text.bucket),
                list(map(stored, text.missing)),
                text.missing_until_us,
            )
            for text in missing[: max(0, LATE_MOST - remembered)]
        ]
        await connection.executemany(
            "INSERT INTO text_late VALUES ($1, $2, $3, $4) ON CONFLICT (place) DO NOTHING", late_rows
        )


async def _bucket_numbers(connection: Connection, names: list[str]) -> dict[str, int]:
    await connection.execute(
        "INSERT INTO text_bucket (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", names
    )
    rows = await connection.fetch("SELECT name, number FROM text_bucket WHERE name = ANY ($1::text[])", names)
    return {row[0]: row[1] for row in rows}


def _is_outdated(progress: Progress) -> bool:
    return progress.renewed < progress.renew_to


def _groups(first: int, before: int, newest_first: bool) -> Iterator[list[int]]:
    """Numbers of shards to look into together, in the order of the search: few at first, then more."""
    numbers: Sequence[int] = range(
        (first & NUMBER_MASK) // SHARD_CALLS, ((before - 1) & NUMBER_MASK) // SHARD_CALLS + 1
    )
    if newest_first:
        numbers = numbers[::-1]
    at, size = 0, FIRST_SHARDS
    while at < len(numbers):
        yield list(numbers[at : at + size])
        at += size
        size = min(size * 2, MOST_SHARDS)


def _mark(bucket: int, shard: int) -> str:
    """What every token of a bucket in a shard begins with."""
    return f"{bucket}={shard}="


def _marked(streams: Streams, mark: str) -> tuple[str, ...]:
    return tuple(_with_mark(getattr(streams, name), mark) for name in _COLUMNS)


def _with_mark(stream: str, mark: str) -> str:
    """A stream of tokens, each with the mark; breaks stay what they are."""
    return " ".join(token if token == "_" else mark + token for token in stream.split())


def _tsquery(sought: Wanted, mark: str) -> str:
    last = len(sought.tokens) - 1
    return " <-> ".join(
        f"'{mark}{token}'{':*' if sought.prefix and at == last else ''}"
        for at, token in enumerate(sought.tokens)
    )


def _place(position: Position) -> int:
    return first_place(position[0]) | position[1]


def _fitting(sizes: list[int]) -> int:
    size = 0
    for count, event_bytes in enumerate(sizes):
        size += event_bytes
        if size > STEP_BYTES and count:
            return count
    return len(sizes)
