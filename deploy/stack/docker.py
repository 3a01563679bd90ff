"""The same servers as containers, for a machine that has Docker and none of the servers.

A container is published on 127.0.0.1 only, and keeps its data from `kill` to `start`, as a process does;
`discard` removes it. Images are the official ones.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

from deploy.stack.probes import DATABASE, USER
from deploy.stack.process import Ports
from deploy.stack.server import STOP_TIMEOUT_S, Server, Spec, StackError

IMAGES = {"rabbitmq": "rabbitmq:3.13-alpine", "redis": "redis:7-alpine", "postgres": "postgres:16-alpine"}
RABBITMQ_4 = "rabbitmq:4-alpine"


def prepare(name: str, folder: Path, ports: Ports, image: str | None = None) -> Server:
    """Describe one of the servers as a container, in a folder inside `folder`."""
    port, password, container = (
        ports.take(),
        secrets.token_hex(12),
        f"trunkline-{name}-{secrets.token_hex(4)}",
    )
    home = folder / name
    home.mkdir(parents=True)
    run = ["docker", "run", "--name", container]
    rest: list[str] = []
    match name:
        case "rabbitmq":
            inner, probe, url = 5672, "amqp", f"amqp://{USER}:{password}@127.0.0.1:{port}/"
            run += ["-e", f"RABBITMQ_DEFAULT_USER={USER}", "-e", f"RABBITMQ_DEFAULT_PASS={password}"]
            run += ["-e", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none", "--hostname", container]
            ctl = ["rabbitmqctl"]
        case "redis":
            inner, probe, url = 6379, "redis", f"redis://:{password}@127.0.0.1:{port}/0"
            run += ["-e", f"REDISCLI_AUTH={password}"]
            rest = ["redis-server", "--requirepass", password, "--save", "", "--appendonly", "no"]
            ctl = ["redis-cli"]
        case "postgres":
            inner, probe = 5432, "postgres"
            url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
            run += ["-e", f"POSTGRES_USER={USER}", "-e", f"POSTGRES_PASSWORD={password}"]
            run += ["-e", f"POSTGRES_DB={DATABASE}", "--stop-signal", "SIGINT"]
            ctl = ["psql", "-U", USER, "-d", DATABASE, "-XAtq"]
        case _:
            raise StackError(f"there is no server named {name}")
    run += ["-p", f"127.0.0.1:{port}:{inner}", image or IMAGES[name], *rest]
    return Server.create(
        home,
        Spec(
            name=name,
            url=url,
            port=port,
            password=password,
            probe=probe,
            argv=run,
            env=dict(os.environ),
            ctl=["docker", "exec", container, *ctl],
            container=container,
        ),
    )


class Container(Server):
    """A server that runs in Docker; `pid` is that of the docker client which is attached to it."""

    @property
    def running(self) -> bool:
        return (
            self._docker("inspect", "-f", "{{.State.Running}}", self._name).strip() == "true"
            or super().running
        )

    def spawn(self) -> None:
        exists = self._docker("inspect", "-f", "{{.Id}}", self._name) != ""
        if exists:
            self._docker("start", self._name)
        elif not super().running:
            super().spawn()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        self._docker("unpause", self._name)
        self._docker("stop", "-t", str(int(timeout_s)), self._name)

    def kill(self) -> None:
        self._docker("kill", "-s", "KILL", self._name)
        self._docker("wait", self._name)

    def pause(self) -> None:
        self._docker("pause", self._name)

    def resume(self) -> None:
        self._docker("unpause", self._name)

    def discard(self) -> None:
        self._docker("rm", "-f", "-v", self._name)
        super().kill() if super().running else None
        super().discard()

    @property
    def _name(self) -> str:
        assert self.spec.container is not None
        return self.spec.container

    def _docker(self, *arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""
