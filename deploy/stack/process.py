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
from collections.abc import Mapping, Sequence
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
    deadline = time.monotonic() + timeout_s
    while group_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_closed(port: int, timeout_s: float) -> bool:
    """Wait until nothing listens on the port: a killed program's last threads may hold it a little longer."""
    deadline = time.monotonic() + timeout_s
    while listening(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def listening(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
