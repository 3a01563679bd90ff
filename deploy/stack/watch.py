"""The stack's last resort: stops the servers when the process that started them died without doing so.

`deploy.stack.stack` starts it beside the servers (`python -m deploy.stack.watch FOLDER`), in a session of its
own, with a pipe as its standard input whose other end the starter alone holds. When the starter is gone,
however it went, the pipe ends. Whatever is then left in the folder is stopped and removed; after a clean stop
that is nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from deploy.stack.server import sweep


def main(arguments: list[str]) -> int:
    """Wait for the end of standard input, then sweep the folder that is the only argument."""
    (folder,) = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    sweep(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
