"""One private server: started, stopped, killed, frozen and thawed, from any process that knows its folder.

`Server.create` writes what is needed to start the server into `<folder>/server.json`; `Server.attach` reads
it back, so that a test can kill and restart a broker which the wrapper (`python -m deploy.stack run`) has
started, and the wrapper still stops the right process in the end: the pid of the running one is in
`<folder>/pid`.

All methods block; in a coroutine use `await asyncio.to_thread(server.kill)`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.stack import process
from deploy.stack.probes import PROBES

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


class StackError(Exception):
    """A server could not be found, installed or started; the message says what to do."""


@dataclass(frozen=True)
class Spec:
    """Everything that starts a server again the way it was started first."""

    name: str
    """rabbitmq, redis, postgres or epmd."""
    url: str
    """What a client connects to, password included."""
    port: int
    """On 127.0.0.1."""
    password: str
    probe: str
    """Which of `deploy.stack.probes` tells that it is ready."""
    argv: list[str]
    env: dict[str, str]
    """The whole environment of the server and of its control tool."""
    user: str | None = None
    """Whom to run it as, when started by root and when it refuses to be run by root."""
    stop_signal: int = signal.SIGTERM
    """What asks it for a quick and clean stop."""
    ctl: list[str] = field(default_factory=list)
    """The start of the command line of its control tool."""
    tls_url: str = ""
    """What a client connects to over TLS, if the server offers that."""
    tls_port: int | None = None
    container: str | None = None
    """The container's name, when it runs in Docker."""
    data: list[str] = field(default_factory=list)
    """Folders to remove at the end which are not inside the server's own."""


class Server:
    """A private server, running or not."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.folder = folder
        self.spec = spec

    @classmethod
    def create(cls, folder: Path, spec: Spec) -> Server:
        """Describe a server in its (existing) folder. It is not started."""
        path = folder / "server.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(spec), indent=1))
        return cls.attach(folder)

    @classmethod
    def attach(cls, folder: Path) -> Server:
        """The server described in this folder, whoever started it."""
        spec = Spec(**json.loads((folder / "server.json").read_text()))
        if spec.container is not None:
            from deploy.stack.docker import Container

            return Container(folder, spec)
        return Server(folder, spec)

    @property
    def url(self) -> str:
        return self.spec.url

    @property
    def port(self) -> int:
        return self.spec.port

    @property
    def log(self) -> Path:
        """What the server printed, over all its starts."""
        return self.folder / "output.log"

    @property
    def pid(self) -> int | None:
        """The pid (and process group) of the last start; None before the first."""
        try:
            return int((self.folder / "pid").read_text())
        except FileNotFoundError:
            return None

    @property
    def running(self) -> bool:
        pid = self.pid
        return pid is not None and process.group_alive(pid)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start it, and return when it serves clients. Nothing happens when it is running."""
        self.spawn()
        self.wait_ready(timeout_s)

    def spawn(self) -> None:
        """Start it without waiting until it is ready."""
        if self.running:
            return
        pid = process.spawn(
            self.spec.argv, env=self.spec.env, log=self.log, user=self.spec.user, cwd=self.folder
        )
        # Another process may be reading: a file half written must not be seen.
        fresh = self.folder / "pid.new"
        fresh.write_text(str(pid))
        fresh.replace(self.folder / "pid")

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when it serves clients; StackError, with its last output, when it does not."""
        deadline = time.monotonic() + timeout_s
        while not self._serves():
            if not self.running:
                raise StackError(f"{self.spec.name} ended while it was starting.\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.spec.name} did not serve within {timeout_s:g} s.\n{self._last_words()}"
                )
            time.sleep(0.05)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop it cleanly; kill it when it has not stopped after `timeout_s`. Its data stay."""
        pid = self.pid
        if pid is None:
            return
        try:
            os.kill(pid, self.spec.stop_signal)
            os.kill(pid, signal.SIGCONT)
        except (ProcessLookupError, PermissionError):
            pass
        if not process.wait_gone(pid, timeout_s):
            self.kill()

    def kill(self) -> None:
        """kill -9 of the server and of all it has started; returns when they are gone. Its data stay as they
        are."""
        pid = self.pid
        if pid is not None:
            # Stopped, it starts nothing more and reaps nothing, so that the pids found are still its own when
            # they are killed. An orphaned backend of PostgreSQL would hold the shared memory, and a restart
            # fail.
            if process.group_alive(pid):
                process.signal_group(pid, signal.SIGSTOP)
            family = process.family(pid)
            process.signal_group(pid, signal.SIGKILL)
            process.signal_all(family, signal.SIGKILL)
            process.wait_gone(pid, STOP_TIMEOUT_S)
            process.wait_all_gone(family, STOP_TIMEOUT_S)
            process.wait_closed(self.port, STOP_TIMEOUT_S)

    def restart(self) -> None:
        """Stop it cleanly and start it again, on the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._signal(signal.SIGCONT)

    def control(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run its control tool (rabbitmqctl, redis-cli, psql) and return what it printed."""
        if not self.spec.ctl:
            raise StackError(f"{self.spec.name} has no control tool here")
        done = subprocess.run(
            [*self.spec.ctl, *arguments],
            env=self.spec.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def discard(self) -> None:
        """Stop it and remove its data."""
        self.stop(timeout_s=5)
        for path in self.spec.data:
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serves(self) -> bool:
        others = [] if self.spec.tls_port is None else [self.spec.tls_port]
        return PROBES[self.spec.probe](self.port, self.spec.password) and all(map(process.listening, others))

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None or not process.group_alive(pid):
            raise StackError(f"{self.spec.name} is not running")
        family = process.family(pid)
        process.signal_group(pid, number)
        process.signal_all(family, number)

    def _last_words(self) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
        except FileNotFoundError:
            return "It printed nothing."


def sweep(folder: Path) -> None:
    """Stop and remove every server described inside this folder, then the folder."""
    for description in sorted(folder.glob("**/server.json"), reverse=True):
        Server.attach(description.parent).discard()
    shutil.rmtree(folder, ignore_errors=True)
