"""`trunkline vault`: verbs that need no server, only the vault's own files or database.

The catalogue finds them (`COMMANDS`, `app`), the command line shows them. Importing this is quick; what a
verb needs is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

    from services.chassis.config import Loaded

COMMANDS = {"vault": "Verify, back up, restore, export, import what is kept."}


def app(name: str, load: Callable[[Path | None], Loaded]) -> App:
    """The commands of one of COMMANDS. load: reads the settings of the installation in a data folder (None:
    the usual one); raises ConfigInvalid."""
    from cyclopts import App, Parameter

    from services.request_vault.commands.verbs import Verbs

    verbs = Verbs(load)
    made = App(
        name=name, help=COMMANDS[name], help_format="markdown", default_parameter=Parameter(negative=())
    )
    made.command(verbs.verify, name="verify", sort_key=0)
    made.command(verbs.stats, name="stats", sort_key=1)
    made.command(verbs.backup, name="backup", sort_key=2)
    made.command(verbs.restore, name="restore", sort_key=3)
    made.command(verbs.export, name="export", sort_key=4)
    made.command(verbs.import_, name="import", sort_key=5)
    return made
