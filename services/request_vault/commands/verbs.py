"""The verbs' names, options and help. What they do is in the module of each, imported when it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from services.chassis.config import Loaded


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    data_dir: Annotated[Path | None, Parameter(name="--data-dir", help="The installation's data folder.")] = (
        None
    )
    json: Annotated[bool, Parameter(name="--json", help="Write JSON, for programs.")] = False


HERE = Where()


def _a_file(_type: object, file: Path) -> None:
    """What lets `-` through lets a misspelt option through too."""
    if str(file) != "-" and str(file).startswith("-"):
        raise ValueError("there is no such option; a file of this name is written ./NAME")


File = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=_a_file)]


class Verbs:
    """load: as `commands.app` says."""

    def __init__(self, load: Callable[[Path | None], Loaded]) -> None:
        self._load = load

    def verify(
        self,
        *,
        bodies: Annotated[bool, Parameter(negative="--no-bodies", help="Read every body too.")] = True,
        models: Annotated[
            bool,
            Parameter(negative="--no-models", help="Compare what is folded from the log with the log too."),
        ] = True,
        where: Where = HERE,
    ) -> int:
        """Prove that nothing in the vault was changed, lost or put in. Exit code 1 when something was.

        The vault may run meanwhile."""
        from services.request_vault.commands.verifying import verify

        return verify(self._load(where.data_dir), bodies=bodies, models=models, as_json=where.json)

    def stats(self, *, where: Where = HERE) -> None:
        """How much the vault holds, of what, and how far its read models are. The vault may run meanwhile."""
        from services.request_vault.commands.counting import stats

        stats(self._load(where.data_dir), as_json=where.json)

    def backup(self, folder: Path, /, *, where: Where = HERE) -> None:
        """Copy the vault into a new folder, and verify the copy. The vault may run meanwhile.

        Parameters
        ----------
        folder
            Where to; it must not exist yet.
        """
        from services.request_vault.commands.backing_up import backup

        backup(self._load(where.data_dir), folder, as_json=where.json)

    def restore(
        self,
        folder: Path,
        /,
        *,
        to: Annotated[
            str | None,
            Parameter(help="Into this data folder, or this vault URL; the installation's own unless given."),
        ] = None,
        where: Where = HERE,
    ) -> None:
        """Bring a backup back, into a vault that holds nothing and does not run.

        Parameters
        ----------
        folder
            What `trunkline vault backup` made.
        """
        from services.request_vault.commands.restoring import restore

        restore(self._load(where.data_dir), folder, to, as_json=where.json)

    def export(
        self,
        file: File = Path("-"),
        *,
        bodies: Annotated[bool, Parameter(negative="--no-bodies", help="With the bodies of calls.")] = True,
        force: Annotated[bool, Parameter(help="Overwrite the file.")] = False,
        where: Where = HERE,
    ) -> None:
        """Write the whole vault as CloudEvents, a line each (NDJSON). The vault may run meanwhile.

        Parameters
        ----------
        file
            Where to: `-` is standard output; compressed when the name ends in .gz or .zst.
        """
        from services.request_vault.commands.exporting import export

        export(self._load(where.data_dir), file, bodies=bodies, force=force, as_json=where.json)

    def import_(self, file: File = Path("-"), *, where: Where = HERE) -> None:
        """Take in what `vault export` wrote: into an empty vault, or one that has the beginning of it.

        The vault must not run. An import that was cut off is taken up by repeating it.

        Parameters
        ----------
        file
            Where from: `-` is standard input; .gz and .zst are read.
        """
        from services.request_vault.commands.importing import import_

        import_(self._load(where.data_dir), file, as_json=where.json)
