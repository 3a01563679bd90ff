"""All private servers together: found or installed, started, described to tests, stopped.

Used by `python -m deploy.stack`, by the tests of the stack, and by bench. Two stacks on one machine share
nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.stack import docker, locate, postgres, rabbitmq, redis
from deploy.stack.process import Ports
from deploy.stack.rabbitmq4 import prepare as prepare_rabbitmq4
from deploy.stack.server import Server, StackError, sweep

URLS = {
    "rabbitmq": "TRUNKLINE_TEST_AMQP_URL",
    "redis": "TRUNKLINE_TEST_REDIS_URL",
    "postgres": "TRUNKLINE_TEST_POSTGRES_URL",
}
TLS_URL = "TRUNKLINE_TEST_AMQPS_URL"
"""RabbitMQ's address over TLS, the certificate to trust in its parameter `ca`."""
FOLDER = "TRUNKLINE_TEST_STACK"
"""The variable that names the folder of each stack, from which a test may take control of a server."""
MOST_COPIES = 4


class Stack:
    """The servers that run in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Server:
        """The server named rabbitmq, redis or postgres; KeyError when this stack has none."""
        found = sorted(self.folder.glob(f"**/{name}/server.json"))
        if not found:
            raise KeyError(name)
        return Server.attach(found[0].parent)

    def __contains__(self, name: str) -> bool:
        return any(self.folder.glob(f"**/{name}/server.json"))

    @property
    def names(self) -> list[str]:
        """The servers that this stack has."""
        return [name for name in locate.NAMES if name in self]

    def environment(self) -> dict[str, str]:
        """What a test process needs to find the servers."""
        found = {URLS[name]: self[name].url for name in self.names}
        if "rabbitmq" in self and (tls_url := self["rabbitmq"].spec.tls_url):
            found[TLS_URL] = tls_url
        return found | {FOLDER: str(self.folder)}

    @staticmethod
    def attached() -> list[Stack]:
        """The stacks that this process was started under by `python -m deploy.stack run`."""
        return [Stack(Path(folder)) for folder in os.environ.get(FOLDER, "").split(os.pathsep) if folder]

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Have the stack for oneself; False when another process has it. It is free again on exit, and when
        this process dies."""
        with (self.folder / "taken").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def environment(stacks: list[Stack]) -> dict[str, str]:
    """What a process needs to find the servers of the first stack, and all stacks' folders."""
    return stacks[0].environment() | {FOLDER: os.pathsep.join(str(stack.folder) for stack in stacks)}


def copies() -> int:
    """How many tests run at a time: one for each processor, four at most."""
    return min(MOST_COPIES, os.cpu_count() or 1)


@contextmanager
def running(only: Iterable[str] = locate.NAMES, *, rabbitmq4: bool = False) -> Iterator[Stack]:
    """A stack of these servers: ready on entry, gone on exit, and gone too when this process dies.

    Installs what is missing. StackError when that cannot be, or when a server does not start.
    """
    with several(1, only, rabbitmq4=rabbitmq4) as (stack,):
        yield stack


@contextmanager
def several(
    count: int, only: Iterable[str] = locate.NAMES, *, rabbitmq4: bool = False
) -> Iterator[list[Stack]]:
    """`count` stacks at once, otherwise as `running`: they start side by side."""
    names = [name for name in locate.NAMES if name in set(only)]
    places = locate.find_or_install([name for name in names if not (rabbitmq4 and name == "rabbitmq")])
    with ExitStack() as started:
        spawned = [started.enter_context(_spawned(names, places, rabbitmq4)) for _ in range(count)]
        for _, servers in spawned:
            for server in servers:
                server.wait_ready()
        yield [Stack(folder) for folder, _ in spawned]


@contextmanager
def _spawned(
    names: list[str], places: dict[str, Path | None], rabbitmq4: bool
) -> Iterator[tuple[Path, list[Server]]]:
    # Resolved: PostgreSQL's other user may not be able to follow a link, and macOS's temporary folder is one.
    folder = Path(tempfile.mkdtemp(prefix="trunkline-stack-")).resolve()
    folder.chmod(0o711)
    ports = Ports()
    with _watched(folder):
        try:
            servers: list[Server] = []
            for name in names:
                if name == "rabbitmq" and rabbitmq4:
                    servers += prepare_rabbitmq4(folder, ports)
                else:
                    servers += _prepare(name, places[name], folder, ports)
                servers[-1].spawn()
            yield folder, servers
        finally:
            sweep(folder)
            ports.release()


def _prepare(name: str, place: Path | None, folder: Path, ports: Ports) -> list[Server]:
    if place is None:
        return [docker.prepare(name, folder, ports)]
    match name:
        case "rabbitmq":
            epmd, broker = rabbitmq.prepare(folder, ports, place)
            epmd.start()
            return [epmd, broker]
        case "redis":
            return [redis.prepare(folder, ports, place)]
        case "postgres":
            return [postgres.prepare(folder, ports, place)]
        case _:
            raise StackError(f"there is no server named {name}")


@contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """Keep a watcher beside the servers that stops them when this process dies."""
    root = Path(__file__).resolve().parents[2]
    watcher = subprocess.Popen(
        [sys.executable, "-m", "deploy.stack.watch", str(folder)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert watcher.stdin is not None
    try:
        yield
    finally:
        watcher.stdin.close()
        watcher.wait()
        shutil.rmtree(folder, ignore_errors=True)
