"""How to reach an installation: `credentials.toml` in its data folder, written by `up`, read by every other
command.

The environment goes before the file: TRUNKLINE_API_URL, TRUNKLINE_GATEWAY_URL, TRUNKLINE_TOKEN,
TRUNKLINE_BUCKET. The file holds a secret: it is made with mode 0600, whole or not at all.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from services.chassis import config
from services.cli import exits
from services.cli.exits import Trouble

FILE_NAME = "credentials.toml"

_START = "Start Trunkline with `trunkline up`, or set TRUNKLINE_API_URL and TRUNKLINE_TOKEN."


@dataclass(frozen=True)
class Credentials:
    """api_url, gateway_url: without a path. bucket: the key used when none is named. token: secret."""

    api_url: str = ""
    gateway_url: str = ""
    bucket: str = ""
    token: str = ""

    def need_api(self) -> str:
        if not self.api_url:
            raise Trouble("it is not known where the API is", remedy=_START, exit_code=exits.UNREACHABLE)
        return self.api_url

    def need_gateway(self) -> str:
        if not self.gateway_url:
            raise Trouble(
                "it is not known where the gateway is",
                remedy="Start Trunkline with `trunkline up`, or set TRUNKLINE_GATEWAY_URL.",
                exit_code=exits.UNREACHABLE,
            )
        return self.gateway_url

    def need_bucket(self) -> str:
        if not self.bucket:
            if not self.gateway_url:
                self.need_api()  # nothing is known at all: say that
            raise Trouble(
                "no bucket is named",
                remedy="Name one with --bucket or TRUNKLINE_BUCKET; `trunkline buckets` lists them.",
                exit_code=exits.USAGE,
            )
        return self.bucket


def find(data_dir: Path | None = None, *, folder: Path | None = None) -> Credentials:
    """The environment's values over those of the data folder's file. Raises Trouble when the file cannot be
    read."""
    said = config.client_values()
    where = data_dir or config.data_dir_named(folder or Path.cwd())
    stored = read(where / FILE_NAME)
    kept = {} if stored is None else {field.name: getattr(stored, field.name) for field in fields(stored)}
    found = Credentials(**{**kept, **said})
    return Credentials(found.api_url.rstrip("/"), found.gateway_url.rstrip("/"), found.bucket, found.token)


def read(file: Path) -> Credentials | None:
    """The file's content, None when there is none. Raises Trouble."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        return Credentials(**{field.name: str(document.get(field.name, "")) for field in fields(Credentials)})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Trouble(
            f"{file} cannot be read: {error.strerror}",
            remedy="Run this as the user who started it, or set TRUNKLINE_API_URL and TRUNKLINE_TOKEN.",
            exit_code=exits.NOT_ALLOWED,
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Trouble(
            f"{file} is damaged: {error}",
            remedy="Move it away; the next `trunkline up` makes a new one, with a new bucket and token.",
            exit_code=exits.CONFIG,
        ) from error


def write(file: Path, credentials: Credentials) -> None:
    """Whole or not at all, readable by its owner only. Raises Trouble."""
    lines = [f'{field.name} = "{getattr(credentials, field.name)}"' for field in fields(credentials)]
    content = "\n".join(["# Written by `trunkline up`. Holds a secret: keep it to yourself.", *lines, ""])
    beside = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    except OSError as error:
        raise Trouble(
            f"{file} cannot be written: {error.strerror}",
            remedy="Make the folder writable, or choose another with --data-dir or TRUNKLINE_DATA_DIR.",
            exit_code=exits.CANNOT_WRITE,
        ) from error
