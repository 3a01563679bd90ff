"""Programs that tests drive as clients: found on this machine, or installed as the servers are
(`deploy.stack.locate`): all at once before the tests begin (`deploy.stack run --clients`), since a test has
neither the time nor a terminal to ask at.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.stack import locate
from deploy.stack.server import StackError

DEBIAN = {"curl": "curl", "git": "git", "npm": "npm", "chromium": "chromium"}
ALSO_CALLED = {"chromium": ("chromium-browser", "google-chrome", "google-chrome-stable")}


def find_or_install() -> None:
    """See to it that each is there. Raises StackError when one cannot be had."""
    missing = [package for name, package in DEBIAN.items() if _find(name) is None]
    if missing:
        locate.install_packages(missing)
    for name in DEBIAN:
        program(name)


def program(name: str) -> Path:
    """Where the program is. Raises StackError, which says what to install, when it is not there."""
    found = _find(name)
    if found is None:
        raise StackError(
            f"{name} is not on this machine: sudo apt-get install {DEBIAN[name]} "
            "(or set TRUNKLINE_TEST_INSTALL=1, and `make test` does it through sudo)"
        )
    return found


def _find(name: str) -> Path | None:
    for called in (name, *ALSO_CALLED.get(name, ())):
        if (path := shutil.which(called)) is not None:
            return Path(path)
    return None
