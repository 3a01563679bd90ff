"""Installs Debian packages without letting any of them start a service.

Run as a program by `deploy.stack.locate`, as root or under sudo: `python apt.py PACKAGE...`. It needs the
standard library only, and imports nothing of the project, since root need not see the caller's virtual
environment.

It promises that no service is running, or enabled for the next boot, which was not so before: while dpkg
works, `/usr/sbin/policy-rc.d` forbids every start (exit 101, see invoke-rc.d(8)), and it is put back as it
was afterwards, also after an interruption. Two installations at once wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
SAVED = Path("/usr/sbin/policy-rc.d.saved-by-trunkline")
OURS = "#!/bin/sh\n# Written by Trunkline's test stack while it installs packages.\nexit 101\n"
LOCK = Path("/var/lib/dpkg/lock-trunkline")
SERVICES = {
    "rabbitmq-server": ("rabbitmq-server", "epmd"),
    "redis-server": ("redis-server",),
    "postgresql": ("postgresql",),
}


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Hold the policy that forbids service starts; one holder at a time on a machine."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # An installation that was killed leaves our policy in place, and the original beside it.
        if POLICY.exists() and POLICY.read_text() != OURS:
            POLICY.replace(SAVED)
        try:
            POLICY.write_text(OURS)
            POLICY.chmod(0o755)
            yield
        finally:
            if SAVED.exists():
                SAVED.replace(POLICY)
            else:
                POLICY.unlink(missing_ok=True)


def installed(package: str) -> bool:
    """Whether dpkg has the package installed and configured."""
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False
    )
    return asked.returncode == 0 and asked.stdout.endswith(" installed")


def install(packages: list[str]) -> int:
    """Install what is missing; returns apt-get's exit code."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = [
        "apt-get",
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=600",
        *packages,
    ]
    with no_service_starts():
        fresh = [package for package in packages if not installed(package)]
        code = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, check=False).returncode
        if code != 0:
            # No package lists yet, or old ones. One unreachable source among many fails the update, not the
            # rest.
            subprocess.run(["apt-get", "update"], env=env, stdin=subprocess.DEVNULL, check=False)
            code = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, check=False).returncode
        if code == 0:
            for package in fresh:
                for service in SERVICES.get(package, ()):
                    subprocess.run(
                        ["update-rc.d", service, "disable"], capture_output=True, env=env, check=False
                    )
    return code


def main(packages: list[str]) -> int:
    """Install the packages named; 2 when asked for nothing or by somebody who is not root."""
    if not packages or os.geteuid() != 0:
        print("usage, as root: apt.py PACKAGE...", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    return install(packages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
