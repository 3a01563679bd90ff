"""The spool keeps what it acknowledged, in order, across crashes, and says so when it cannot."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bus import codec
from bus.clock import SystemClock
from bus.errors import SpoolFull, Unavailable
from bus.event import Event
from bus.ids import Ids
from bus.message import Exchange, Fact
from bus.spool import Spool

CLOCK = SystemClock()
IDS = Ids(CLOCK)


class Noted(Fact, frozen=True):
    TYPE = "test.thing.noted"

    number: int
    padding: str = ""


def event(number: int, padding: str = "") -> Event:
    data = codec.encode_data(Noted(number, padding))
    return Event(IDS.new(), "test", Noted.TYPE, 1, "_", None, CLOCK.now(), data)


class Taker:
    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.exchanges: list[Exchange] = []

    async def __call__(self, events: list[Event], exchange: Exchange) -> None:
        self.numbers += [each.read(Noted).number for each in events]
        self.exchanges.append(exchange)


async def test_what_was_put_comes_back_in_order_and_then_is_gone(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        assert spool.empty
        await spool.put([event(n) for n in range(600)])
        await spool.put([event(600)], "bodies")
        assert not spool.empty
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == list(range(601))
        assert taker.exchanges == ["events", "events", "events", "bodies"]
        assert spool.empty
        assert spool.size_bytes == 0
    async with Spool.open(tmp_path) as again:
        assert again.empty


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1), event(2)])
    async with Spool.open(tmp_path) as spool:
        assert not spool.empty
        taker = Taker()
        await spool.drain(taker)
    assert taker.numbers == [1, 2]


async def test_it_survives_kill_9_after_put_returned(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.bus.test_spool import event; from bus.spool import Spool\n"
        "async def main():\n"
        "    async with Spool.open(Path(sys.argv[1])) as spool:\n"
        "        for n in range(50): await spool.put([event(n)])\n"
        "        print('kept', flush=True); await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        process.send_signal(signal.SIGKILL)
    async with Spool.open(tmp_path) as spool:
        taker = Taker()
        await spool.drain(taker)
    assert taker.numbers == list(range(50))


async def test_a_failed_drain_loses_nothing(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1)])
        await spool.put([event(2)])
        seen: list[int] = []

        async def fail_at_two(events: list[Event], exchange: Exchange) -> None:
            number = events[0].read(Noted).number
            if number == 2 and 2 not in seen:
                seen.append(2)
                raise Unavailable("the bus went away again")
            seen.append(number)

        with pytest.raises(Unavailable):
            await spool.drain(fail_at_two)
        assert not spool.empty
        await spool.drain(fail_at_two)
    assert seen == [1, 2, 1, 2], "the segment is taken again from its start"


async def test_what_arrives_while_draining_comes_after(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1)])
        numbers: list[int] = []

        async def take(events: list[Event], exchange: Exchange) -> None:
            if not numbers:
                await spool.put([event(2)])
            numbers.append(events[0].read(Noted).number)

        await spool.drain(take)
        assert numbers == [1, 2]
        assert spool.empty


async def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    async with Spool.open(tmp_path, max_bytes=1000) as spool:
        await spool.put([event(1, "x" * 500)])
        with pytest.raises(SpoolFull, match="of at most 1000 bytes"):
            await spool.put([event(2, "x" * 500)])
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == [1]
        await spool.put([event(3, "x" * 500)])


async def test_a_torn_last_record_is_dropped(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1)])
        await spool.put([event(2)])
    [segment] = tmp_path.glob("0/*.spool")
    segment.write_bytes(segment.read_bytes()[:-7])
    async with Spool.open(tmp_path) as spool:
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == [1]
        assert spool.empty


async def test_a_damaged_segment_is_set_aside_not_deleted(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1)])
        await spool.put([event(2, "needle")])
    [segment] = tmp_path.glob("0/*.spool")
    segment.write_bytes(segment.read_bytes().replace(b"needle", b"noodle"))
    async with Spool.open(tmp_path) as spool:
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == [1]
    assert list(tmp_path.glob("0/*.damaged"))


async def test_two_at_once_use_two_folders_and_a_left_one_is_adopted(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as first:
        await first.put([event(1)])
        async with Spool.open(tmp_path) as second:
            await second.put([event(2)])
            assert await first.adopt() == 0, "its owner lives"
        assert await first.adopt() == 1
        taker = Taker()
        await first.drain(taker)
    assert taker.numbers == [1, 2]


async def test_a_disk_that_refuses_is_unavailable_and_goes_on_later(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        folder = tmp_path / "0"
        held = folder.rename(tmp_path / "away")
        with pytest.raises(Unavailable, match="cannot be used"):
            await spool.put([event(1)])
        held.rename(folder)
        await spool.put([event(2)])
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == [2]


async def test_many_puts_at_once_share_the_disk(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        async with asyncio.TaskGroup() as tasks:
            for n in range(200):
                tasks.create_task(spool.put([event(n)]))
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == list(range(200))


async def test_a_disk_that_takes_a_part_of_a_record_keeps_nothing_of_it(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1)])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size_bytes + 1000, hard))
        try:
            with pytest.raises(Unavailable, match="cannot be used"):
                await spool.put([event(2, "x" * 2000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await spool.put([event(3)])
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == [1, 3]
    assert not list(tmp_path.glob("0/*.damaged"))


async def test_more_than_the_reader_holds_at_once_is_read_again(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(n, "x" * 900_000) for n in range(40)])
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == list(range(40))


async def test_what_was_adopted_counts_as_held(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as first:
        async with Spool.open(tmp_path) as second:
            await second.put([event(1)])
            left = second.size_bytes
        await first.adopt()
        assert first.size_bytes == left
        await first.put([event(2)])
        taker = Taker()
        await first.drain(taker)
        assert (taker.numbers, first.size_bytes) == ([1, 2], 0)


async def test_what_was_set_aside_is_never_written_over(tmp_path: Path) -> None:
    for number in (1, 2):
        async with Spool.open(tmp_path) as spool:
            await spool.put([event(number, "needle")])
        [segment] = tmp_path.glob("0/*.spool")
        segment.write_bytes(segment.read_bytes().replace(b"needle", b"noodle"))
        async with Spool.open(tmp_path) as spool:
            await spool.drain(Taker())
    assert len(list(tmp_path.glob("0/*.damaged"))) == 2


async def test_a_record_that_cannot_be_read_holds_back_nothing_behind_it(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([msgspec.structs.replace(event(1), id="")])
        await spool.put([event(2)])
        taker = Taker()
        await spool.drain(taker)
        assert taker.numbers == [2]
    assert list(tmp_path.glob("0/*.damaged"))


async def test_nobody_waits_for_a_spool_that_was_closed(tmp_path: Path) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        async with Spool.open(tmp_path) as spool:
            late = tasks.create_task(_refused(spool, event(1)))
            await asyncio.sleep(0)
        await late
        assert await _refused(spool, event(2))


async def _refused(spool: Spool, what: Event) -> bool:
    try:
        await spool.put([what])
    except Unavailable:
        return True
    return False


async def test_a_disk_that_refuses_while_draining_is_unavailable(tmp_path: Path) -> None:
    async with Spool.open(tmp_path) as spool:
        await spool.put([event(1)])

        async def take(events: list[Event], exchange: Exchange) -> None:
            for segment in tmp_path.glob("0/*.spool"):
                segment.unlink()

        with pytest.raises(Unavailable, match="cannot be used"):
            await spool.drain(take)
