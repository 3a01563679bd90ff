"""The first bucket and token of an installation, and `credentials.toml` that tells of them. Used by `up` and
`setup`.

The file is written before they are made and both commands can be repeated, so that a start that was cut off
is taken up by the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING

from services.cli import credentials as stored
from services.cli.credentials import Credentials

if TYPE_CHECKING:
    from bus.connect import Bus
    from services.chassis.config import Loaded

ENSURE_WITHIN_S = 15.0
AGAIN_S = 0.2
TEAM = "default"

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


async def settle(bus: Bus, loaded: Loaded, *, api_url: str, gateway_url: str) -> tuple[Credentials, bool]:
    """Credentials that work, and whether they are new. The addresses as the services announced them; empty
    when they did not: what was known stays. Raises BusError, Trouble."""
    from bus.errors import Refused

    file = loaded.data_dir / stored.FILE_NAME
    known = stored.read(file)
    api_url = near(api_url or (known.api_url if known else ""))
    gateway_url = near(gateway_url or (known.gateway_url if known else ""))
    bucket, token = (known.bucket, known.token) if known else ("", "")
    for attempt in range(2):
        wanted = Credentials(api_url, gateway_url, bucket or new_key(), token or new_secret())
        if wanted != known:
            stored.write(file, wanted)
        try:
            await _ensure(bus.as_source("cli"), wanted)
        except Refused:
            # The bucket was deleted, or the token revoked, by somebody who meant it: begin with new ones.
            if attempt:
                raise
            bucket = token = ""
        else:
            break
    return wanted, known is None or (wanted.bucket, wanted.token) != (known.bucket, known.token)


async def _ensure(bus: Bus, wanted: Credentials) -> None:
    """The bucket and the token are there. Waits a little for identity and the vault. Raises BusError, Refused
    when they cannot be had."""
    from bus.errors import AskFailed, Refused, Unavailable

    try:
        async with asyncio.timeout(ENSURE_WITHIN_S):
            while True:
                try:
                    return await _ask(bus, wanted)
                except Refused:
                    raise
                except (Unavailable, AskFailed) as error:
                    last = error
                    await bus.clock.sleep(AGAIN_S)
    except TimeoutError:
        raise last from None


async def _ask(bus: Bus, wanted: Credentials) -> None:
    from bus.errors import Refused
    from bus.ids import derived
    from schemas.identity import CreateToken, GetBucket, PutBucket
    from schemas.operation import SCOPES

    try:
        team = await _team(bus, TEAM)
    except Refused:  # it was deleted, by somebody who meant it
        team = await _team(bus, f"{TEAM}-{wanted.bucket}")
    try:
        await bus.ask(GetBucket(wanted.bucket))
    except Refused:
        command_id = derived("up", "bucket", wanted.bucket)
        await bus.ask(PutBucket(command_id, "first bucket", key=wanted.bucket, team=team))
        await bus.ask(GetBucket(wanted.bucket))  # a repeat is answered as the first time, deleted or not
    scopes = tuple(sorted(SCOPES))
    digest = hashlib.sha256(wanted.token.encode()).hexdigest()
    command_id = derived("up", "token", digest, *scopes)
    try:
        await bus.ask(CreateToken(command_id, "first token", scopes, digest, team=team))
    except Refused as refused:
        if refused.reason != "token-conflict":  # a token that was rotated since: its secret works
            raise


async def _team(bus: Bus, id: str) -> str:
    """Its id, once it is there. Raises BusError, Refused when it is there no more."""
    from bus.ids import derived
    from schemas.identity import GetTeam, PutTeam

    await bus.ask(PutTeam(derived("up", "team", id), id, "Default team"))
    await bus.ask(GetTeam(id))  # a repeat is answered as the first time, deleted or not
    return id


def near(url: str) -> str:
    """A listener's address as this machine calls it: "all addresses" is none that one can connect to."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def new_key() -> str:
    """A bucket key: 12 random letters and digits, a letter first, so that it can begin a host name
    everywhere."""
    return secrets.choice(_LETTERS) + "".join(secrets.choice(_LETTERS + _DIGITS) for _ in range(11))


def new_secret() -> str:
    """A token, of 256 random bits."""
    from services.chassis.access.tokens import secret_of

    return secret_of("tl", secrets.token_bytes(32))
