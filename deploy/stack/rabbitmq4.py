"""A private RabbitMQ 4 on a machine whose own is older: Debian 13's package in a folder, or Docker's image.

The folder is a small Debian of its own, made once by debootstrap and kept in the user's cache; the broker is
run in it by chroot, which needs root. Where that cannot be, Docker is taken.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.stack import apt, docker, locate, rabbitmq
from deploy.stack.process import Ports
from deploy.stack.server import Server, StackError

SUITE = "trixie"


def prepare(folder: Path, ports: Ports) -> list[Server]:
    """Describe the broker and start what it needs first. StackError when this machine can have none."""
    if os.geteuid() == 0 and (shutil.which("debootstrap") or _installed_debootstrap()):
        root = _debian()
        scripts = sorted((root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-4.*/sbin/rabbitmq-server"))
        if not scripts:
            raise StackError(f"there is no RabbitMQ 4 in {root}: remove that folder and try again")
        script = scripts[-1]
        epmd, broker = rabbitmq.prepare(folder, ports, Path("/") / script.relative_to(root), chroot=root)
        epmd.start()
        return [epmd, broker]
    if locate.docker_runs():
        return [docker.prepare("rabbitmq", folder, ports, docker.RABBITMQ_4)]
    raise StackError(
        "RabbitMQ 4 needs root and debootstrap (Debian, Ubuntu: sudo apt-get install debootstrap), or Docker"
    )


def _installed_debootstrap() -> bool:
    if shutil.which("apt-get") is None:
        return False
    command = [sys.executable, str(Path(apt.__file__).resolve()), "debootstrap"]
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def _debian() -> Path:
    """The folder with Debian 13 and its RabbitMQ; made when it is not there, by one process at a time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trunkline"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"rabbitmq4-{SUITE}"
    with (cache / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            print(f"making {root} (once, about a minute)", file=sys.stderr, flush=True)
            half = root.with_suffix(".half")
            # One that was interrupted may have mounted /proc: removing through it would be no clean-up.
            subprocess.run(["umount", str(half / "proc")], capture_output=True, check=False)
            if half.exists():
                shutil.rmtree(half)
            command = ["debootstrap", "--variant=minbase", "--include=rabbitmq-server", SUITE, str(half)]
            with (cache / f"{root.name}.log").open("w") as log:
                done = subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                raise StackError(f"debootstrap failed; its output is in {log.name}")
            half.rename(root)
    return root
