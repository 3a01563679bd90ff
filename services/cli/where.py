"""Options that commands share: which installation, which bucket, and for whom the output is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from services.cli.credentials import Credentials, find


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    data_dir: Annotated[Path | None, Parameter(name="--data-dir", help="The installation's data folder.")] = (
        None
    )
    json: Annotated[bool, Parameter(name="--json", help="Write JSON, for programs.")] = False

    def credentials(self) -> Credentials:
        """How to reach the API. Raises Trouble."""
        return find(self.data_dir)

    def folder(self) -> Path:
        """The data folder that is meant, there or not."""
        from services.chassis import config

        return self.data_dir or config.data_dir_named(Path.cwd())


@Parameter(name="*")
@dataclass(frozen=True)
class InBucket(Where):
    bucket: Annotated[
        str | None, Parameter(name=["--bucket", "-b"], help="Another bucket than the installation's first.")
    ] = None

    def key(self, credentials: Credentials) -> str:
        """The bucket that is meant. Raises Trouble."""
        return self.bucket or credentials.need_bucket()


ANYWHERE = Where()
ANY_BUCKET = InBucket()
