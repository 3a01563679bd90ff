"""Finds the servers' programs on this machine, or installs them. Used by `deploy.stack.stack`.

In this order: binaries already here (PATH, Debian's and Homebrew's folders); else `apt-get`, as root, or
through sudo after a typed yes (`TRUNKLINE_TEST_INSTALL=1` is the yes where nobody can type); else Docker;
else an error that says what to install. An installation starts no service (`deploy/stack/apt.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from deploy.stack import apt
from deploy.stack.server import StackError

NAMES = ("rabbitmq", "redis", "postgres")
DEBIAN = {"rabbitmq": "rabbitmq-server", "redis": "redis-server", "postgres": "postgresql"}
HOMEBREW = {"rabbitmq": "rabbitmq", "redis": "redis", "postgres": "postgresql"}
ROOT = Path("/")
HOMEBREWS = ("opt/homebrew", "usr/local")  # on Apple's processors and on Intel's


def find_rabbitmq() -> Path | None:
    """RabbitMQ's own start script; the one in Debian's PATH is a wrapper that changes the user."""
    found = [
        *ROOT.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"),
        *(ROOT / brew / "opt/rabbitmq/sbin/rabbitmq-server" for brew in HOMEBREWS),
        *ROOT.glob("opt/rabbitmq_server-*/sbin/rabbitmq-server"),
        *_on_path("rabbitmq-server"),
    ]
    if _first([*_on_path("erl"), *(ROOT / brew / "bin/erl" for brew in HOMEBREWS)]) is None:
        return None
    return _first(path for path in found if path != Path("/usr/sbin/rabbitmq-server"))


def find_redis() -> Path | None:
    """The redis-server program."""
    return _first(
        [*_on_path("redis-server"), *(ROOT / brew / "opt/redis/bin/redis-server" for brew in HOMEBREWS)]
    )


def find_postgres() -> Path | None:
    """The folder that holds initdb and postgres: the newest version's."""
    folders = [
        *ROOT.glob("usr/lib/postgresql/*/bin"),
        *ROOT.glob("usr/pgsql-*/bin"),
        *(folder for brew in HOMEBREWS for folder in ROOT.glob(f"{brew}/opt/postgresql*/bin")),
        *(path.resolve().parent for path in _on_path("initdb")),
    ]
    complete = [
        folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()
    ]
    return max(complete, key=_version, default=None)


FINDERS: dict[str, Callable[[], Path | None]] = {
    "rabbitmq": find_rabbitmq,
    "redis": find_redis,
    "postgres": find_postgres,
}


def find(names: Iterable[str]) -> dict[str, Path]:
    """Where the programs of these servers are; those not on this machine are missing."""
    found = {name: FINDERS[name]() for name in names}
    return {name: path for name, path in found.items() if path is not None}


def find_or_install(names: Iterable[str]) -> dict[str, Path | None]:
    """Where the programs of these servers are; None: in Docker. StackError when neither can be."""
    wanted = list(names)
    here = find(wanted)
    missing = [name for name in wanted if name not in here]
    if missing and install(missing):
        here |= find(missing)
        missing = [name for name in wanted if name not in here]
    if missing and not docker_runs():
        raise StackError(_what_to_install(missing))
    return {name: here.get(name) for name in wanted}


def install(names: list[str]) -> bool:
    """Install these servers with apt-get; False when that is not possible, not allowed, or fails."""
    return install_packages([DEBIAN[name] for name in names] + ["openssl"])


def install_packages(packages: list[str]) -> bool:
    """Install Debian packages; False when that is not possible, not allowed, or fails."""
    if shutil.which("apt-get") is None:
        return False
    command = [sys.executable, str(Path(apt.__file__).resolve()), *packages]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None or not _allowed(packages):
            return False
        command = ["sudo", *command] if sys.stdin.isatty() else ["sudo", "-n", *command]
    print(f"installing {', '.join(packages)} (no service is started)", file=sys.stderr, flush=True)
    # apt's own output goes where a person looks for it, and not into what a caller reads from us.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def docker_runs() -> bool:
    """Whether a Docker daemon answers."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _allowed(packages: list[str]) -> bool:
    if os.environ.get("TRUNKLINE_TEST_INSTALL") == "1":
        return True
    if not sys.stdin.isatty():
        return False
    print(f"The tests need {', '.join(packages)}. Install with sudo apt-get? No service is started.")
    return input("Type yes to install: ").strip().lower() == "yes"


def _what_to_install(names: list[str]) -> str:
    return (
        f"Not on this machine: {', '.join(names)}. Install them and try again:\n"
        f"  Debian, Ubuntu:  sudo apt-get install {' '.join(DEBIAN[name] for name in names)}\n"
        f"                   (or set TRUNKLINE_TEST_INSTALL=1, and it is done through sudo)\n"
        f"  macOS:           brew install {' '.join(HOMEBREW[name] for name in names)}\n"
        "  anywhere:        start Docker; the servers then run in containers\n"
        "The tests that need no server run with `make test-embedded`."
    )


def _on_path(name: str) -> list[Path]:
    found = shutil.which(name)
    return [] if found is None else [Path(found)]


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _version(folder: Path) -> tuple[int, ...]:
    digits = "".join(letter if letter.isdigit() else " " for letter in folder.parent.name).split()
    return tuple(int(number) for number in digits)
