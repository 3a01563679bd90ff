"""What clients tell the gateway itself beside the address, in a header or a parameter of the query. Pure.

    Trunkline-Request-Port   the target's port, in the host scheme
    Trunkline-Playback-Id    answer with the stored response of this call
    Trunkline-Bucket-Auth    the bucket's token, where it asks for one

Each is known as `Runscope-...` too; the parameter has the same name, in any case. The header goes before the
parameter, Trunkline's name before Runscope's. None of it is relayed: headers that begin with either name are
taken out (`domain.headers`), and so are these parameters; every other byte of the query stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus

REQUEST_PORT = "request-port"
PLAYBACK_ID = "playback-id"
BUCKET_AUTH = "bucket-auth"
SYSTEMS = ("trunkline", "runscope")
_KNOWN = tuple(
    tuple(f"{system}-{name}" for system in SYSTEMS) for name in (REQUEST_PORT, PLAYBACK_ID, BUCKET_AUTH)
)
_PREFIXES = tuple(f"{system}-" for system in SYSTEMS)
_PARAMETERS = frozenset(name for names in _KNOWN for name in names)


class Instructions(NamedTuple):
    """As they were given; None where they were not."""

    port: str | None = None
    playback_id: str | None = None
    bucket_auth: str | None = None


def instructions(headers: Mapping[str, str], parameters: Mapping[str, str]) -> Instructions:
    """headers: looked up in any case. parameters: by lower-case name, from `without_parameters`."""
    return Instructions(*[_said(names, headers, parameters) for names in _KNOWN])


def _said(names: tuple[str, ...], headers: Mapping[str, str], parameters: Mapping[str, str]) -> str | None:
    for given in (headers, parameters) if parameters else (headers,):
        for name in names:
            if said := given.get(name):
                return said
    return None


def without_parameters(target: str) -> tuple[str, dict[str, str]]:
    """A request target without the gateway's own parameters; and these, by lower-case name. A query that is
    empty then goes with its question mark."""
    path, mark, query = target.partition("?")
    lower = query.lower()
    if not any(prefix in lower for prefix in _PREFIXES):
        return target, {}
    taken: dict[str, str] = {}
    kept = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name.lower() in _PARAMETERS:
            taken.setdefault(name.lower(), unquote_plus(value))
        else:
            kept.append(part)
    if not taken:
        return target, {}
    return (f"{path}{mark}{'&'.join(kept)}" if kept else path), taken
