"""The host: starting, failing, starting again, draining, and what it tells about all that."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.errors import InUse, Unavailable
from bus.message import Signal
from bus.router import Delivery, Router
from bus.testing import Harness, harness, turns
from schemas.mission_control import ListServices, ServiceBeat, ServiceSeen
from services.chassis.host import (
    Ground,
    Host,
    Part,
    Service,
    ServiceFailed,
    Shared,
    leaves,
    open_host,
    told,
)
from services.chassis.host.board import FORGET_AFTER_S


class Sound:
    """A service that can be told to fail, and that counts what happens to it."""

    def __init__(self) -> None:
        self.starts = 0
        self.ends = 0
        self.grounds: list[Ground] = []
        self.fail_on_start: list[Exception] = []
        self.crash = asyncio.Event()
        self.hold_the_end = asyncio.Event()
        self.hold_the_end.set()

    def part(self, name: str) -> Part:
        build: Service = self.build
        return Part(name, build, None)

    @asynccontextmanager
    async def build(self, config: Any, ground: Ground) -> AsyncIterator[None]:
        self.starts += 1
        self.grounds.append(ground)
        if self.fail_on_start:
            raise self.fail_on_start.pop(0)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(self._work())
            ground.announce("url", f"http://127.0.0.1:{7080 + self.starts}")
            try:
                yield
            finally:
                await self.hold_the_end.wait()
                working.cancel()
                self.ends += 1

    async def _work(self) -> None:
        await self.crash.wait()
        self.crash.clear()
        raise RuntimeError("the disk is on fire")


@pytest.fixture
async def bus() -> AsyncIterator[Harness]:
    async with harness() as found:
        yield found


@asynccontextmanager
async def host_of(bus: Harness, *parts: Part, drain_s: float = 5.0) -> AsyncIterator[Host]:
    async with open_host(bus, parts, data_dir=Path("/nowhere"), version="1.2", drain_s=drain_s) as host:
        yield host


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():
            await turns()


async def seen(bus: Harness) -> dict[str, ServiceSeen]:
    return {each.service: each for each in (await bus.ask(ListServices())).services}


async def test_services_are_ready_inside_and_drained_after(bus: Harness) -> None:
    one, two = Sound(), Sound()
    async with host_of(bus, one.part("one"), two.part("two")) as host:
        assert host.states() == {"one": "ready", "two": "ready"}
        assert host.announced("one")["url"] == "http://127.0.0.1:7081"
        assert (one.ends, two.ends) == (0, 0)
    assert (one.ends, two.ends) == (1, 1)
    assert host.states() == {"one": "stopped", "two": "stopped"}


async def test_each_service_stands_on_what_the_process_shares_and_tells_which_key_that_has(
    bus: Harness,
) -> None:
    one, two = Sound(), Sound()
    shared = Shared.alone(bus.clock)
    parts = (one.part("one"), two.part("two"))
    async with open_host(bus, parts, data_dir=Path("/nowhere"), version="1", shared=shared) as host:
        assert one.grounds[0].shared is two.grounds[0].shared is shared
        await until(lambda: len(host.board._seen) == 2)
        told = {name: each.announced["key"] for name, each in (await seen(bus)).items()}
        assert told == dict.fromkeys(("one", "two"), shared.secrets.ids[0])


async def test_a_process_by_itself_has_a_key_that_no_other_has(bus: Harness) -> None:
    one, two = Shared.alone(bus.clock), Shared.alone(bus.clock)
    assert one.secrets.ids != two.secrets.ids


async def test_each_service_has_a_ground_of_its_own(bus: Harness) -> None:
    one, two = Sound(), Sound()
    async with host_of(bus, one.part("one"), two.part("two")):
        assert [sound.grounds[0].bus.source for sound in (one, two)] == ["one", "two"]
        assert one.grounds[0].bus.transport is bus.transport


async def test_services_start_side_by_side(bus: Harness) -> None:
    met = asyncio.Barrier(3)

    @asynccontextmanager
    async def build(config: Any, ground: Ground) -> AsyncIterator[None]:
        await met.wait()
        yield

    async with host_of(bus, *(Part(name, build, None) for name in "abc")) as host:
        assert set(host.states().values()) == {"ready"}


async def test_a_service_that_cannot_start_ends_the_start_and_drains_the_others(bus: Harness) -> None:
    good, bad = Sound(), Sound()
    bad.fail_on_start = [InUse("port 7080 is taken")]
    with pytest.raises(ServiceFailed, match=r"^bad cannot start: port 7080 is taken$") as caught:
        async with host_of(bus, good.part("good"), bad.part("bad")):
            pytest.fail("it is not ready")
    assert caught.value.exit_code == InUse.exit_code
    assert caught.value.remedy == InUse.remedy
    assert good.ends == good.starts


async def test_a_service_that_waits_for_something_is_tried_again_and_the_others_go_on(bus: Harness) -> None:
    good, waiting = Sound(), Sound()
    waiting.fail_on_start = [Unavailable("no database"), ExceptionGroup("both", [Unavailable("no database")])]
    async with host_of(bus, good.part("good"), waiting.part("waiting")) as host:
        assert host.states() == {"good": "ready", "waiting": "waiting"}
        await bus.clock.advance(1.0)
        await until(lambda: waiting.starts == 2)
        assert host.states()["waiting"] == "waiting"
        await bus.clock.advance(2.0)
        await until(lambda: host.states()["waiting"] == "ready")


async def test_a_service_that_crashes_is_started_again_with_growing_delays(bus: Harness) -> None:
    good, bad = Sound(), Sound()
    async with host_of(bus, good.part("good"), bad.part("bad")) as host:
        for turn, delay_s in enumerate((1, 2, 4, 8, 16, 32, 60, 60), start=1):
            bad.crash.set()
            await until(lambda: host.states()["bad"] == "waiting")
            await bus.clock.advance(delay_s - 0.01)
            assert bad.starts == turn, "not before its time"
            await bus.clock.advance(0.02)
            await until(lambda: host.states()["bad"] == "ready")
        assert good.starts == 1
        assert (await seen(bus))["bad"].restarts == 8


async def test_after_a_good_minute_the_delay_is_short_again(bus: Harness) -> None:
    bad = Sound()
    async with host_of(bus, bad.part("bad")) as host:
        for _ in range(3):
            bad.crash.set()
            await until(lambda: host.states()["bad"] == "waiting")
            await bus.clock.advance(10)
            await until(lambda: host.states()["bad"] == "ready")
        await bus.clock.advance(60)
        bad.crash.set()
        await until(lambda: host.states()["bad"] == "waiting")
        await bus.clock.advance(1.01)
        await until(lambda: host.states()["bad"] == "ready")


async def test_the_callers_own_error_comes_out_as_it_is_after_draining(bus: Harness) -> None:
    sound = Sound()
    with pytest.raises(KeyError, match="mine"):
        async with host_of(bus, sound.part("one")):
            raise KeyError("mine")
    assert sound.ends == 1


async def test_a_service_that_does_not_drain_is_cancelled_in_bounded_time(bus: Harness) -> None:
    good, stuck = Sound(), Sound()
    stuck.hold_the_end.clear()
    async with host_of(bus, good.part("good"), stuck.part("stuck"), drain_s=0.1) as host:
        pass
    assert host.overdue == ("stuck",)
    assert good.ends == 1


async def test_a_service_that_fails_while_draining_keeps_nobody(bus: Harness) -> None:
    @asynccontextmanager
    async def build(config: Any, ground: Ground) -> AsyncIterator[None]:
        yield
        raise RuntimeError("too late")

    sound = Sound()
    async with host_of(bus, sound.part("good"), Part("bad", build, None)) as host:
        pass
    assert host.states() == {"good": "stopped", "bad": "failed"}


async def test_the_end_may_be_asked_for_while_something_waits(bus: Harness) -> None:
    waiting = Sound()
    waiting.fail_on_start = [Unavailable("no database")] * 100
    async with host_of(bus, waiting.part("waiting")) as host:
        host.stop()
        await host.until_stopped()
    assert host.overdue == ()


async def test_heartbeats_tell_of_every_change(bus: Harness) -> None:
    told_of: list[tuple[str, str | None]] = []

    async def on_service_beat(beat: ServiceBeat, delivery: Delivery) -> None:
        if (beat.state, beat.trouble) not in told_of[-1:]:
            told_of.append((beat.state, beat.trouble))

    listening = Router("listening")
    listening.on(ServiceBeat, on_service_beat)
    sound = Sound()
    async with bus.serve(listening), host_of(bus, sound.part("one")) as host:
        await until(lambda: told_of[-1:] == [("ready", None)])
        sound.crash.set()
        await until(lambda: told_of[-1:] == [("waiting", "RuntimeError: the disk is on fire")])
        await bus.clock.advance(1.01)
        await until(lambda: host.states()["one"] == "ready" and told_of[-1:] == [("ready", None)])


async def test_who_runs_is_answered_with_ages(bus: Harness) -> None:
    async with host_of(bus, Sound().part("one"), Sound().part("two")) as host:
        await until(lambda: len(host.board._seen) == 2)
        await bus.clock.advance(1.5)
        found = await seen(bus)
        assert list(found) == ["one", "two"]
        assert found["one"].state == "ready"
        assert found["one"].version == "1.2"
        assert found["one"].pid == os.getpid()
        assert found["one"].announced["url"] == "http://127.0.0.1:7081"
        assert found["one"].beat_age_s == pytest.approx(1.5)
        await bus.clock.advance(0.6)
        await until(lambda: len(host.board._seen) == 2)
        assert (await seen(bus))["one"].beat_age_s < 1


async def test_what_was_not_heard_for_long_is_forgotten(bus: Harness) -> None:
    async with host_of(bus):
        beat = ServiceBeat("gone", "i", "ready", "h", 1, "1", bus.clock.now())
        await bus.signal(beat)
        async with asyncio.timeout(5):
            while not await seen(bus):
                await turns()
        await bus.clock.advance(FORGET_AFTER_S - 1)
        assert "gone" in await seen(bus)
        await bus.clock.advance(2)
        assert await seen(bus) == {}


@pytest.mark.uvloop
async def test_starting_and_stopping_over_and_over_at_any_moment() -> None:
    class Noise(Signal, frozen=True):
        TYPE = "test.noise.made"

    @asynccontextmanager
    async def build(config: Any, ground: Ground) -> AsyncIterator[None]:
        async def on_noise(noise: Noise, delivery: Delivery) -> None:
            return

        router = Router(f"noise.{ground.bus.source}")
        router.on(Noise, on_noise)
        await asyncio.sleep(0)
        async with ground.bus.serve(router):
            await ground.bus.signal(Noise())
            yield
            await asyncio.sleep(0)

    dice = random.Random(5)
    for _ in range(60):
        async with harness() as bus:
            parts = [Part(name, build, None) for name in "abcd"]
            opening = open_host(bus, parts, data_dir=Path("/nowhere"), version="1")
            try:
                async with asyncio.timeout(dice.choice([0, 0.0005, 0.001, 0.005, 5])):
                    async with opening as host:
                        for _ in range(dice.randrange(20)):
                            await asyncio.sleep(0)
                        if dice.random() < 0.5:
                            host.stop()
            except TimeoutError:
                pass


PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from pathlib import Path
from bus.connect import connect
from services.chassis.host import Part, open_host, run_loop

@asynccontextmanager
async def build(config, ground):
    yield
    print("draining", flush=True)
    if config == "stuck":
        await asyncio.Event().wait()

async def main(config):
    async with connect("embedded:", source="host") as bus:
        parts = [Part("one", build, config)]
        async with open_host(bus, parts, data_dir=Path("."), version="1", signals=True) as host:
            print("ready", flush=True)
            await host.until_stopped()
    print("ended", flush=True)

run_loop(main(sys.argv[1]))
"""


def run_program(config: str) -> subprocess.Popen[str]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_ends(number: signal.Signals) -> None:
    with run_program("sound") as program:
        program.send_signal(number)
        out, err = program.communicate(timeout=20)
    assert (out, err, program.returncode) == ("draining\nended\n", "", 0)


def test_a_second_signal_ends_at_once() -> None:
    with run_program("stuck") as program:
        program.send_signal(signal.SIGTERM)
        assert program.stdout is not None
        assert program.stdout.readline() == "draining\n"
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=5) == 128 + signal.SIGINT


def test_groups_are_told_by_their_leaves() -> None:
    group = ExceptionGroup(
        "a", [ValueError("x"), ExceptionGroup("b", [Unavailable("no disk"), ValueError("x")])]
    )
    assert [type(leaf) for leaf in leaves(group)] == [ValueError, Unavailable, ValueError]
    assert told(group) == "ValueError: x; no disk"


async def test_the_end_is_told_to_other_hosts(bus: Harness) -> None:
    async with host_of(bus, Sound().part("one")):
        async with host_of(bus, Sound().part("two")):
            pass
        async with asyncio.timeout(5):
            while "two" not in (found := await seen(bus)) or found["two"].state != "stopped":
                await turns()
