"""Why a command is not carried out, and the checks that several of them share."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from schemas.operation import Scope

MAX_NAME_CHARS = 100

_TEAM = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class No(Exception):
    """The command is understood and not carried out. slug: as in the contract; detail: for people. final: so
    it is whatever this command did before."""

    def __init__(self, slug: str, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.final = final


def check_name(slug: str, name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise No(slug, f"name {name[:40]!r} is not 1 to {MAX_NAME_CHARS} printable characters")


def check_team(slug: str, team: str) -> None:
    if not _TEAM.fullmatch(team):
        raise No(slug, f"team {team[:40]!r} is not 1 to 63 characters of a-z, 0-9, '_' and '-'")


def check_version(slug: str, what: str, wanted: int | None, version: int) -> None:
    """`wanted`: what If-Match named."""
    if wanted is not None and wanted != version:
        raise No(slug, f"{what} has changed since: it is at version {version}, not {wanted}; read it again")


def check_unlimited(allowed_buckets: Collection[str], what: str) -> None:
    """Who is limited to buckets changes nothing that is about more than these."""
    if allowed_buckets:
        raise No("scope-forbidden", f"the caller is limited to certain buckets, and {what} is not")


def check_allowed(wanted: Iterable[str], held: Collection[Scope] | None, what: str) -> None:
    """Nobody gives away, or uses, more than they have. held: None is a caller on the bus, who has all."""
    missing = sorted(set(wanted) - set(held)) if held is not None else []
    if missing:
        raise No("scope-forbidden", f"{what} needs the scope {missing[0]}, which the caller lacks")
