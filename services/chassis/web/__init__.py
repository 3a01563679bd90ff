"""What every HTTP edge stands on: an aiohttp app with request ids, problem details and /healthz; and
`listen`.

Called by the rooms that face clients (api, gateway, dashboard ...). It promises that no answer of such an app
is a traceback, that every error is an RFC 9457 problem, and that leaving `listen` lets requests in flight
finish.
"""

from __future__ import annotations

from services.chassis.web.app import CLOSING, LOGGED_PATH, REQUEST_ID, Translate, make_app
from services.chassis.web.listening import CannotListen, PortInUse, Serves, claim, listen, listening_url
from services.chassis.web.problems import (
    BODY_BROKEN,
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    KINDS,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    REQUEST_INVALID,
    Problem,
    ProblemKind,
    problem,
)

__all__ = [
    "BODY_BROKEN",
    "BODY_TOO_LARGE",
    "CLOSING",
    "INTERNAL_ERROR",
    "LOGGED_PATH",
    "KINDS",
    "METHOD_NOT_ALLOWED",
    "NOT_FOUND",
    "REQUEST_ID",
    "REQUEST_INVALID",
    "CannotListen",
    "PortInUse",
    "Problem",
    "ProblemKind",
    "Serves",
    "Translate",
    "claim",
    "listen",
    "listening_url",
    "make_app",
    "problem",
]
