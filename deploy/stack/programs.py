"""Programs that tests drive as clients: found on this machine, or installed as the servers are
(`deploy.stack.locate`). Called by tests.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.stack import locate
from deploy.stack.server import StackError

DEBIAN = {"curl": "curl", "git": "git", "npm": "npm", "chromium": "chromium"}
ALSO_CALLED = {"chromium": ("chromium-browser", "google-chrome", "google-chrome-stable")}


def program(name: str) -> Path:
    """Where the program is. Raises StackError, which says what to install, when it cannot be had."""
    found = _find(name)
    if found is None and locate.install_packages([DEBIAN[name]]):
        found = _find(name)
    if found is None:
        raise StackError(
            f"{name} is not on this machine: sudo apt-get install {DEBIAN[name]} "
            "(or set TRUNKLINE_TEST_INSTALL=1, and it is done through sudo)"
        )
    return found


def _find(name: str) -> Path | None:
    for called in (name, *ALSO_CALLED.get(name, ())):
        if (path := shutil.which(called)) is not None:
            return Path(path)
    return None
