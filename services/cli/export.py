"""`trunkline export`: calls as a HAR 1.2 archive, which browsers and most HTTP tools read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli import exits
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.selection import EVERYTHING, Filters, Query
from services.cli.where import ANY_BUCKET, InBucket


def _no_option(_type: object, file: Path) -> None:
    """What lets `-` through lets a misspelt option through too."""
    if str(file) != "-" and str(file).startswith("-"):
        raise ValueError("there is no such option; a file of this name is written ./NAME")


def export(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True, validator=_no_option)] = Path("-"),
    query: Query = "",
    *,
    filters: Filters = EVERYTHING,
    limit: Annotated[int | None, Parameter(name=["--limit", "-n"], help="Only the newest.")] = None,
    force: Annotated[bool, Parameter(help="Overwrite the file.")] = False,
    where: InBucket = ANY_BUCKET,
) -> None:
    """Write calls to a HAR file.

    Parameters
    ----------
    file
        Where to; `-` is standard output.
    """
    credentials = where.credentials()
    path = f"/v1/buckets/{where.key(credentials)}/calls.har"
    parameters = {**filters.parameters(query, SystemClock()), "limit": limit}
    with Api(credentials) as api:
        if str(file).strip() == "-":
            for piece in api.get_pieces(path, parameters):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        if file.exists() and not force:
            raise Trouble(
                f"{file} exists",
                remedy="Choose another name, or overwrite it with --force.",
                exit_code=exits.CANNOT_WRITE,
            )
        size_bytes = _write(api, path, parameters, file)
    if where.json:
        print(json.dumps({"file": str(file), "size_bytes": size_bytes}))
    else:
        print(f"Wrote {file} ({size_bytes} bytes).")


def _write(api: Api, path: str, parameters: dict[str, object], file: Path) -> int:
    """Whole or not at all: an archive that breaks off is no JSON."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    size_bytes = 0
    pieces = api.get_pieces(path, parameters)
    try:
        with beside.open("wb") as out:
            for piece in pieces:
                size_bytes += out.write(piece)
        beside.replace(file)
    except OSError as error:
        raise Trouble(
            f"{file} cannot be written: {error.strerror}",
            remedy="Choose another folder.",
            exit_code=exits.CANNOT_WRITE,
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return size_bytes
