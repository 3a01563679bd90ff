"""The API's client for the command line: one connection, JSON in and out, failures as Trouble.

Built on the standard library's `http.client`: a command asks one thing after another and ends, and this
starts in a tenth of the time that an asynchronous client takes to import.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from services.cli import exits
from services.cli.credentials import Credentials
from services.cli.exits import Trouble

TIMEOUT_S = 30.0
PIECE_BYTES = 64 * 1024
POINTED_CHARS = 240
MAX_LINE_BYTES = 4 * 1024 * 1024
UNREACHABLE_SLUG = "api-unreachable"

Query = Mapping[str, object] | None

_EXIT_BY_STATUS = {
    400: exits.INVALID,
    401: exits.NOT_ALLOWED,
    403: exits.NOT_ALLOWED,
    404: exits.NOT_THERE,
    409: exits.INVALID,
    410: exits.NOT_THERE,
    422: exits.INVALID,
    429: exits.DOWN,
    500: exits.FAULT,
    503: exits.DOWN,
    504: exits.DOWN,
}
_REMEDIES = {
    400: "Correct the value; the command's --help describes it.",
    401: "Check TRUNKLINE_TOKEN, or the token in credentials.toml.",
    403: "Use a token that has this scope.",
    404: "List what is there with `trunkline calls` or `trunkline buckets`.",
    503: "Look at `trunkline status`, and try again.",
}


class Api:
    """One installation's API. Use as a context manager: leaving it closes the connection."""

    def __init__(self, credentials: Credentials) -> None:
        self._url = credentials.need_api()
        self._token = credentials.token
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Trouble(
                f"the API's address {self._url!r} is no http:// or https:// URL",
                remedy="Correct TRUNKLINE_API_URL or api_url in credentials.toml.",
                exit_code=exits.CONFIG,
            )
        self._prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def get(self, path: str, query: Query = None) -> Any:
        """The JSON document at `path`. Raises Trouble."""
        body = self.get_bytes(path, query)
        try:
            return json.loads(body)
        except ValueError as error:
            raise Trouble(
                f"{self._url} answered {path} with something that is no JSON",
                remedy="Is that address Trunkline's API?",
                exit_code=exits.UNREACHABLE,
            ) from error

    def get_bytes(self, path: str, query: Query = None) -> bytes:
        return b"".join(self.get_pieces(path, query))

    def get_pieces(self, path: str, query: Query = None) -> Iterator[bytes]:
        """The body at `path`, piece by piece. Raises Trouble, also when it breaks off."""
        with self._translated():
            response = self._open(path, query, {}, TIMEOUT_S)
        while True:
            with self._translated():
                piece = response.read(PIECE_BYTES)
            if not piece:
                return
            yield piece

    def get_lines(
        self, path: str, query: Query = None, *, headers: Mapping[str, str] | None = None, idle_s: float
    ) -> Iterator[str]:
        """The lines at `path` as they come, until the other side ends. Raises Trouble, also when none comes
        for `idle_s`."""
        with self._translated():
            response = self._open(path, query, headers or {}, idle_s)
        while True:
            with self._translated():
                line = response.readline(MAX_LINE_BYTES)
            if not line:
                return
            yield line.decode("utf-8", "replace").rstrip("\r\n")

    def _open(
        self, path: str, query: Query, headers: Mapping[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        """A successful response to be read. Parameters that are None are left out; True and False are written
        as JSON has them."""
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        target = f"{self._prefix}{path}{'?' + urlencode(given, quote_via=quote) if given else ''}"
        sent = {"Accept": "*/*", "User-Agent": "trunkline-cli", **headers}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        self._connection.timeout = timeout_s
        self._connection.request("GET", target, headers=sent)
        response = self._connection.getresponse()
        if response.status != 200:
            raise _problem(response, path, given)
        return response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Trouble(
                f"the API at {self._url} cannot be reached: {_reason(error)}",
                remedy="Start Trunkline with `trunkline up`; --data-dir names another installation.",
                exit_code=exits.UNREACHABLE,
                slug=UNREACHABLE_SLUG,
            ) from error


def _problem(response: http.client.HTTPResponse, path: str, given: Mapping[str, str]) -> Trouble:
    """An answer that is no success: RFC 9457 problem details, if it has them. given: the parameters."""
    body = response.read(PIECE_BYTES)
    try:
        document = json.loads(body)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    said = (
        document.get("detail")
        or document.get("title")
        or f"{path} was answered {response.status} {response.reason}"
    )
    slug = re.split(r"[/#:]", str(document.get("type") or "api-failed"))[-1]
    return Trouble(
        str(said).rstrip("."),
        remedy=_pointed(document, given)
        or _REMEDIES.get(response.status)
        or str(document.get("remedy") or "Look at `trunkline status`."),
        exit_code=_EXIT_BY_STATUS.get(response.status, exits.FAULT),
        slug=slug,
    )


def _pointed(document: Mapping[str, Any], given: Mapping[str, str]) -> str:
    """The parameter that a problem is in, and a mark below the character at fault; empty when it points at
    none."""
    field, position = document.get("field"), document.get("position")
    text = given.get(field) if isinstance(field, str) else None
    if text is None or not isinstance(position, int) or not 0 < position <= len(text) + 1 <= POINTED_CHARS:
        return ""
    blanks = "".join(each if each.isspace() else " " for each in text[: position - 1])
    return f"{text}\n{blanks}^" if "\n" not in text else ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
