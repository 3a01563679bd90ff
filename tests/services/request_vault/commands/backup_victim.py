"""`trunkline vault backup` that is killed at a point. Run by `test_backup_kills.py`: ENGINE POINT HITS
FOLDER, with the vault's settings in the environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from services.cli import main
from services.request_vault.store.sqlite import copying
from tests.services.request_vault.rounds import dying
from tests.services.request_vault.rounds.points import BODIES, POSTGRES, SQLITE, Engine, Point

COMMANDS = "services.request_vault.commands"

WHOLE = "after it has its name"
"""The only point behind which there is a backup."""


def _is_folder(path: Path, target: Path) -> bool:
    return path.is_dir()


_OF_BOTH = {
    "before a body is copied": Point("before", f"{BODIES}.copying:copy", most_hits=1),
    "in the middle of the bodies": Point("after", f"{BODIES}.files:write", most_hits=20),
    "before the database, or its name, is on disk": Point("before", f"{SQLITE}.copying:sync", most_hits=2),
    "while the copy is proved": Point("after", f"{COMMANDS}.proving:_prove_page", most_hits=2),
    "before the manifest is written": Point("before", f"{COMMANDS}.manifest:write", most_hits=1),
    "before it has its name": Point("before", "pathlib:Path.rename", counts=_is_folder, most_hits=1),
    WHOLE: Point("after", "pathlib:Path.rename", counts=_is_folder, most_hits=1),
}

_OF_SQLITE = {"in the middle of the database": Point("after", f"{SQLITE}.copying:copy", asks=2, most_hits=4)}

OF_POSTGRES = {
    "in the middle of the log": Point("after", f"{POSTGRES}.linking:links", most_hits=4),
    "in the middle of the database that it is copied into": Point(
        "after", f"{SQLITE}.engine:SqliteStore.load", most_hits=2
    ),
}

POINTS: Mapping[Engine, Mapping[str, Point]] = {
    "sqlite": _OF_BOTH | _OF_SQLITE,
    "postgres": _OF_BOTH | OF_POSTGRES,
}


def run(engine: Engine, point: str, hits: int, folder: str) -> int:
    copying.STEP_PAGES = 8  # so that the copy of a small database has a middle
    dying.arm(POINTS[engine][point], hits)
    return main(["vault", "backup", folder])


if __name__ == "__main__":
    engine: Engine = "sqlite" if sys.argv[1] == "sqlite" else "postgres"
    sys.exit(run(engine, sys.argv[2], int(sys.argv[3]), sys.argv[4]))
