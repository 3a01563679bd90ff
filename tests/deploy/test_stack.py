"""The test stack: two at once, servers killed and started again, nothing is left however its owner ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.stack import Server, Stack, StackError, running, several
from deploy.stack.process import alive, family, group_alive, listening
from deploy.stack.server import Spec
from deploy.stack.stack import environment

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(180)]


def processes_of(folder: Path) -> list[str]:
    """The command lines of the processes whose command line or environment names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder).encode() in known and int(process.name) != os.getpid() and command:
            found.append(command)
    return found


def eventually(condition: Callable[[], bool], within_s: float = 20) -> bool:
    """Whether the condition comes true in time. Processes of others end when they end: only looking tells."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def assert_no_process_of(folder: Path) -> None:
    assert eventually(lambda: processes_of(folder) == []), processes_of(folder)


@contextmanager
def wrapper(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m deploy.stack` as a process of its own."""
    program = subprocess.Popen(
        [sys.executable, "-m", "deploy.stack", *arguments], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        yield program
    finally:
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


def printed_folder(program: subprocess.Popen[str]) -> Path:
    """Read what `up` prints up to the stack's folder, its last line."""
    assert program.stdout is not None
    for line in program.stdout:
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if name == "TRUNKLINE_TEST_STACK":
            return Path(value)
    pytest.fail("the stack ended before it was up")


def test_two_stacks_run_beside_each_other() -> None:
    with several(2) as (one, other):
        assert set(one.names) == set(other.names) == {"rabbitmq", "redis", "postgres"}
        for name in one.names:
            assert one[name].running
            assert other[name].running
            assert one[name].port != other[name].port
        assert one["redis"].control("set", "who", "one").strip() == "OK"
        assert other["redis"].control("get", "who").strip() == ""
        assert "test" not in one["rabbitmq"].control("list_vhosts", "--silent")
        one["rabbitmq"].control("add_vhost", "test")
        assert "test" not in other["rabbitmq"].control("list_vhosts", "--silent")
        assert one["postgres"].control("-c", "select current_user").strip() == "trunkline"
    for stack in (one, other):
        assert not stack.folder.exists()
        assert_no_process_of(stack.folder)


def test_each_process_takes_a_stack_of_its_own() -> None:
    program = (
        "import os, sys; from deploy.stack import Stack\n"
        "for stack in Stack.attached():\n"
        "    with stack.taken() as own:\n"
        "        print(stack.folder, own, stack['redis'].port, os.environ['TRUNKLINE_TEST_REDIS_URL'])"
    )
    with several(2, ["redis"]) as stacks, stacks[0].taken() as own:
        assert own
        (one, other) = stacks
        told = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **environment(stacks)},
            check=True, timeout=60, capture_output=True, text=True,
        ).stdout.splitlines()  # fmt: skip
        url = one["redis"].url
        assert told == [
            f"{one.folder} False {one['redis'].port} {url}",
            f"{other.folder} True {other['redis'].port} {url}",
        ]
    assert [stack.folder.exists() for stack in stacks] == [False, False]


def test_a_killed_broker_starts_again_on_its_port_and_data() -> None:
    with running(["rabbitmq"]) as stack:
        broker = stack["rabbitmq"]
        broker.control("add_vhost", "kept")
        before = broker.pid
        broker.kill()
        assert not broker.running
        assert not listening(broker.port)
        broker.start()
        assert broker.pid != before
        assert "kept" in broker.control("list_vhosts", "--silent")


def test_a_killed_postgres_leaves_no_backend_and_starts_again() -> None:
    """A backend that outlives its postmaster holds the shared memory, and the next start is refused."""
    with running(["postgres"]) as stack:
        postgres = stack["postgres"]
        for _ in range(5):
            with long_query(postgres):
                backends = family(postgres.pid or 0)
                assert len(backends) > 2
                postgres.kill()
                assert not any(map(alive, backends))
            postgres.start()
        assert postgres.control("-c", "select 1").strip() == "1"


def test_a_frozen_postgres_answers_nobody_and_goes_on() -> None:
    """Its backends are frozen with it: they lead process groups of their own."""
    with running(["postgres"]) as stack, long_query(stack["postgres"], seconds=0.5) as query:
        stack["postgres"].pause()
        with pytest.raises(subprocess.TimeoutExpired):
            query.wait(timeout=2)
        stack["postgres"].resume()
        assert query.wait(timeout=20) == 0


@contextmanager
def long_query(postgres: Server, seconds: float = 600) -> Iterator[subprocess.Popen[bytes]]:
    """A client in the middle of a query, so that a backend is busy."""
    spec = postgres.spec
    asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    query = subprocess.Popen(
        [*spec.ctl, "-c", f"select pg_sleep({seconds})"],
        env=spec.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: postgres.control("-c", asleep).strip() == "1")
        yield query
    finally:
        query.kill()
        query.wait()


def test_a_broker_speaks_tls_with_a_certificate_for_its_address(amqps_url: str) -> None:
    parts = urlsplit(amqps_url)
    context = ssl.create_default_context(cafile=parse_qs(parts.query)["ca"][0])
    with (
        socket.create_connection(("127.0.0.1", parts.port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        assert connection.recv(1) == b"\x01"


def test_a_server_is_controlled_from_a_process_that_did_not_start_it() -> None:
    with running(["redis"]) as stack:
        own = stack["redis"]
        program = (
            "from deploy.stack import Stack; server = Stack.attached()[0]['redis'];"
            "server.kill(); assert not server.running; server.start(); server.pause(); server.resume()"
        )
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **stack.environment()}, check=True, timeout=60
        )
        assert own.running
        assert own.control("ping").strip() == "PONG"
        pid = own.pid
    assert pid is not None
    assert not group_alive(pid)


def test_a_frozen_server_goes_on() -> None:
    with running(["redis"]) as stack:
        redis = stack["redis"]
        redis.pause()
        with pytest.raises(subprocess.TimeoutExpired):
            redis.control("ping", timeout_s=0.3)
        redis.resume()
        assert redis.control("ping").strip() == "PONG"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_nothing_is_left_when_the_wrapper_ends_by_a_signal(number: signal.Signals) -> None:
    with wrapper("up", "--only", "redis,rabbitmq") as program:
        folder = printed_folder(program)
        ports = [Stack(folder)[name].port for name in ("redis", "rabbitmq")]
        assert all(listening(port) for port in ports)
        program.send_signal(number)
        assert program.wait(timeout=60) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert eventually(lambda: not folder.exists())
    assert_no_process_of(folder)
    assert not any(listening(port) for port in ports)


def test_run_hands_on_the_servers_and_the_exit_code() -> None:
    shown = (
        "import os, sys; print(os.environ['TRUNKLINE_TEST_REDIS_URL']);"
        "print(*os.environ['TRUNKLINE_TEST_STACK'].split(os.pathsep)); sys.exit(7)"
    )
    with wrapper("run", "--only", "redis", "--copies", "2", "--", sys.executable, "-c", shown) as program:
        said, _ = program.communicate(timeout=60)
        url, folders = said.splitlines()
        assert url.startswith("redis://:")
        assert len(set(folders.split())) == 2
        assert program.returncode == 7


def test_a_server_that_cannot_start_says_its_last_words(tmp_path: Path) -> None:
    spec = Spec(
        name="broken",
        url="",
        port=1,
        password="",
        probe="redis",
        argv=[sys.executable, "-c", "print('the reason')"],
        env={},
    )
    with pytest.raises(StackError, match="the reason"):
        Server.create(tmp_path, spec).start()
