"""How to reach an installation: `credentials.toml` in its data folder, written by `up`, read by every other
command.

The environment goes before the file: TRUNKLINE_API_URL, TRUNKLINE_GATEWAY_URL, TRUNKLINE_TOKEN,
TRUNKLINE_BUCKET. Who has signed in (`trunkline login`) has a `session.toml` beside it, whose session goes
before the file's token, so that signing in and out loses neither. Both hold a secret: they are made with mode
0600, whole or not at all.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from services.chassis import config
from services.cli import exits
from services.cli.exits import Trouble

FILE_NAME = "credentials.toml"
SESSION_FILE_NAME = "session.toml"

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


@dataclass(frozen=True)
class SignedIn:
    """email: who. secret: goes where a token goes. api_url: the only API that it is shown to; empty: the one
    that credentials.toml names, wherever that moves to."""

    email: str = ""
    api_url: str = ""
    secret: str = ""


def find(data_dir: Path | None = None, *, folder: Path | None = None) -> Credentials:
    """The environment's values over those of the data folder's file. Raises Trouble when the file cannot be
    read."""
    said = config.client_values()
    where = data_dir or config.data_dir_named(folder or Path.cwd())
    stored = read(where / FILE_NAME) or Credentials()
    person = read_session(where / SESSION_FILE_NAME)
    home = stored.api_url.rstrip("/")
    if person is not None:
        if person.api_url and person.api_url != home:
            stored = Credentials(
                person.api_url
            )  # another installation's bucket and token are of no use there
        if said.get("api_url", person.api_url or home).rstrip("/") == (person.api_url or home):
            stored = replace(stored, token=person.secret)
    found = replace(stored, **said)
    return replace(found, api_url=found.api_url.rstrip("/"), gateway_url=found.gateway_url.rstrip("/"))


def read(file: Path) -> Credentials | None:
    """The file's content, None when there is none. Raises Trouble."""
    document = _read(
        file,
        unreadable="Run this as the user who started it, or set TRUNKLINE_API_URL and TRUNKLINE_TOKEN.",
        damaged="Move it away; the next `trunkline up` makes a new one, with a new bucket and token.",
    )
    if document is None:
        return None
    return Credentials(**{field.name: str(document.get(field.name, "")) for field in fields(Credentials)})


def write(file: Path, credentials: Credentials) -> None:
    """Whole or not at all, readable by its owner only. Raises Trouble."""
    values = {field.name: getattr(credentials, field.name) for field in fields(credentials)}
    _write(file, "Written by `trunkline up`. Holds a secret: keep it to yourself.", values)


def read_session(file: Path) -> SignedIn | None:
    """Who is signed in, None when nobody is. Raises Trouble."""
    document = _read(
        file,
        unreadable="Run this as the user who signed in, or set TRUNKLINE_TOKEN.",
        damaged="Remove it, and sign in again with `trunkline login EMAIL`.",
    )
    if document is None:
        return None
    return SignedIn(**{field.name: str(document.get(field.name, "")) for field in fields(SignedIn)})


def write_session(file: Path, person: SignedIn) -> None:
    """As `write`. Raises Trouble."""
    values = {field.name: getattr(person, field.name) for field in fields(person)}
    _write(file, "Written by `trunkline login`. Holds a secret: keep it to yourself.", values)


def forget_session(file: Path) -> None:
    """Nobody is signed in any more. Raises Trouble."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise Trouble(
            f"{file} cannot be removed: {error.strerror}",
            remedy="Remove it yourself: it holds a session's secret.",
            exit_code=exits.CANNOT_WRITE,
        ) from error


def _read(file: Path, *, unreadable: str, damaged: str) -> dict[str, object] | None:
    """unreadable, damaged: what to do about that."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Trouble(
            f"{file} cannot be read: {error.strerror}", remedy=unreadable, exit_code=exits.NOT_ALLOWED
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Trouble(f"{file} is damaged: {error}", remedy=damaged, exit_code=exits.CONFIG) from error


def _write(file: Path, comment: str, values: Mapping[str, str]) -> None:
    # A JSON string is a TOML string too (TOML 1.0: basic strings), whatever the value holds.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    content = "\n".join([f"# {comment}", *lines, ""])
    beside = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as out:
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
