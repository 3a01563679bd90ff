"""How failures of asks and of bindings become problems.

A service's refusal keeps its own slug. Its status follows from the last word of the slug, so that a new
operation's refusals need no line here.
"""

from __future__ import annotations

import re

from bus.errors import (
    AskFailed,
    BusError,
    DeadlinePassed,
    Malformed,
    NobodyAnswers,
    Refused,
    TooLarge,
    Unavailable,
)
from services.api.domain.binding import Invalid
from services.api.domain.refusals import status_by_word
from services.api.edge.problems import (
    ASK_REFUSED,
    KINDS,
    PARAMETER_INVALID,
    PARAMETER_UNKNOWN,
    SERVICE_FAILED,
    SERVICE_UNAVAILABLE,
    TOO_LARGE,
)
from services.chassis.web import BODY_BROKEN, Problem

CHALLENGE = 'Bearer realm="trunkline"'
LIMITED_S = 60  # when a refusal for too many tries names no time of its own

_POINTING = re.compile(r"(\w+), character ([0-9]+): ")
_SECONDS = re.compile(r"\b([0-9]{1,6}) s\b")
_BY_SLUG = {kind.slug: kind for kind in KINDS}


def status_of(slug: str) -> int:
    """The HTTP status of a service's refusal."""
    kind = _BY_SLUG.get(slug)
    return kind.status if kind is not None else status_by_word(slug)


def from_ask(service: str, error: BusError) -> Problem:
    """What went wrong with an ask to `service`, as a problem."""
    match error:
        case Refused():
            return _refusal(error)
        case Unavailable():
            return unavailable(service, f"{service} does not answer: {error}", retry_after_s=2)
        case NobodyAnswers():
            return unavailable(service, f"{service} is not running", retry_after_s=5)
        case DeadlinePassed():
            return unavailable(service, f"{service} did not answer in time", retry_after_s=2)
        case TooLarge():
            return TOO_LARGE.of(str(error))
        case AskFailed() | Malformed():
            return SERVICE_FAILED.of(f"{service} could not answer because of a fault there", service=service)
        case _:
            return SERVICE_FAILED.of(f"{service} could not be asked", service=service)


def unavailable(service: str, detail: str, *, retry_after_s: int) -> Problem:
    headers = {"Retry-After": str(retry_after_s)}
    return SERVICE_UNAVAILABLE.of(detail, headers=headers, service=service)


def from_invalid(error: Invalid) -> Problem:
    named = {"field": error.field, "in": error.where} if error.field else {"in": error.where}
    if error.broken:
        return BODY_BROKEN.of(f"The body cannot be read: {error.reason}.", **named)
    said = f"{error.where} {error.field!r}" if error.field else f"the {error.where}"
    if error.known:
        known = list(error.known)
        return PARAMETER_UNKNOWN.of(
            f"{said}: {error.reason}; there are {', '.join(known)}.", known=known, **named
        )
    return PARAMETER_INVALID.of(f"{said}: {error.reason}.", **named)


def _refusal(error: Refused) -> Problem:
    status, headers = status_of(error.reason), {}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE  # a 401 without one is no answer (RFC 9110, 15.5.2)
    if status == 429:
        told = _SECONDS.search(error.detail)
        headers["Retry-After"] = told[1] if told is not None else str(LIMITED_S)
    kind = _BY_SLUG.get(error.reason)
    if kind is not None:
        # A refusal that points at a character says so in its first words: it has no other place for it.
        pointing = _POINTING.match(error.detail)
        if pointing is None:
            return kind.of(error.detail, headers=headers)
        return kind.of(error.detail, headers=headers, field=pointing[1], position=int(pointing[2]))
    title = error.reason.replace("-", " ").capitalize() or ASK_REFUSED.title
    return Problem(status, error.reason or ASK_REFUSED.slug, title, error.detail, headers=headers)
