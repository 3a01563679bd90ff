"""The entry point of the `trunkline` command. Thin: everything is in `services.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    from services.cli import main as run  # here, so that importing this module costs nothing

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
