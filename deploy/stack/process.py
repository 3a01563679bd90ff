"""Processes, ports and liveness, as the modules that start private servers need them.

Every server leads a session, and so a process group, of its own: a Ctrl-C in the terminal does not reach it,
and a signal to the group reaches whatever it has started.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# Below every usual range of ephemeral ports, so that no outgoing connection takes the port of a server that
# is down for a moment (a test that restarts the broker needs the same port again).
PORTS = range(15_000, 32_000)


class Ports:
    """Free ports of 127.0.0.1 for servers yet to start; kept from other stacks until `release`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"trunkline-ports-{os.getuid()}"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._locks: list[IO[str]] = []

    def take(self) -> int:
        """A port that nothing listens on and no other stack was given."""
        for port in random.sample(PORTS, k=200):
            # The lock goes when this process does, however it ends. The file stays: unlinking it would let
            # two processes hold a lock on two files of one name.
            lock = (self._folder / str(port)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                lock.close()
                continue
            self._locks.append(lock)
            return port
        raise RuntimeError(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1")

    def release(self) -> None:
        """Let other stacks have these ports."""
        for lock in self._locks:
            lock.close()
        self._locks.clear()


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    user: str | None = None,
    cwd: Path | None = None,
) -> int:
    """Start a program as the leader of a new session, its output appended to `log`; returns its pid.

    A thread waits for it, so that its end leaves no zombie which looks alive.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=_group_of(user),
            extra_groups=None if user is None else [],
            cwd=cwd,
        )
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()
    return child.pid


def _group_of(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def family(pid: int) -> list[int]:
    """This process and all that descend from it, itself first; empty when it is gone. Its group is not
    enough: PostgreSQL's backends each lead a session of their own."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = [pid] if alive(pid) else []
    for member in found:
        found.extend(children.get(member, ()))
    return found


def _parents() -> list[tuple[int, int]]:
    """(pid, parent's pid) of every process."""
    answer = []
    if Path("/proc/self/stat").exists():
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # The name, in parentheses, may hold anything: state and parent follow the last one.
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            answer.append((int(folder.name), int(stat[1])))
        return answer
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        child, parent = line.split()
        answer.append((int(child), int(parent)))
    return answer


def alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to these processes; one that is gone is fine."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def group_alive(pid: int) -> bool:
    """Whether the process group that `pid` leads has a process left."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The name, in parentheses, may hold anything: the state follows the last one.
    return stat.rpartition(")")[2].split()[0] == "Z"


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the group that `pid` leads; a group that is gone is fine."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait until the group that `pid` leads is gone; False when it is still there after `timeout_s`."""
    return _until(lambda: not group_alive(pid), timeout_s)


def wait_all_gone(pids: Sequence[int], timeout_s: float) -> bool:
    """Wait until none of these processes is left; False when one still is after `timeout_s`."""
    return _until(lambda: not any(map(alive, pids)), timeout_s)


def wait_closed(port: int, timeout_s: float) -> bool:
    """Wait until nothing listens on the port: a killed program's last threads may hold it a little longer."""
    return _until(lambda: not listening(port), timeout_s)


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def listening(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
