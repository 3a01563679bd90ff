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
PAGE = 500
MAX_LINE_BYTES = 4 * 1024 * 1024
UNREACHABLE_SLUG = "api-unreachable"
SESSION_PREFIX = "tls_"

Query = Mapping[str, object] | None

_EXIT_BY_STATUS = {
    400: exits.INVALID,
    401: exits.NOT_ALLOWED,
    403: exits.NOT_ALLOWED,
    404: exits.NOT_THERE,
    409: exits.INVALID,
    410: exits.NOT_THERE,
    412: exits.INVALID,
    422: exits.INVALID,
    429: exits.DOWN,
    500: exits.FAULT,
    503: exits.DOWN,
    504: exits.DOWN,
}
_SESSION_OVER = "Sign in again with `trunkline login EMAIL`, or be a token again with `trunkline logout`."
_REMEDIES = {
    400: "Correct the value; the command's --help describes it.",
    401: "Check TRUNKLINE_TOKEN, or the token in credentials.toml.",
    403: "Use a token that has this scope.",
    404: "List what is there, as with `trunkline calls`, `buckets`, `tokens` or `members`.",
    409: "It does not go together with what is there now: look at that first.",
    412: "Somebody has changed it since: look at it again, and repeat the change on what it is now.",
    429: "Try again in a moment.",
    503: "Look at `trunkline status`, and try again.",
}
_SAY_ENOUGH = {
    "session-unauthorized": "Check the e-mail address and the password; an owner can invite you again.",
    "password-unauthorized": "Write the password that you sign in with now.",
    "session-unknown": "Sign in first: `trunkline login EMAIL`.",
    "session-invalid": "Name the team to work in: `trunkline login EMAIL --team ID`.",
    "invitation-unknown": "Ask an owner of the team for a new one: `trunkline members invite EMAIL`.",
    "scope-forbidden": "Do it with a token, or as somebody, that may do more: `trunkline whoami`.",
}
"""What helps against a refusal, where its status alone does not tell."""


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

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return self._url

    def get(self, path: str, query: Query = None) -> Any:
        """The JSON document at `path`. Raises Trouble."""
        return self._read(path, self.get_bytes(path, query))

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Query = None,
        if_version: int | None = None,
    ) -> Any:
        """What a change is answered with: a JSON document, None when there is nothing to say. body: fields
        that are None are left out. if_version: only if what is changed has this version still. Raises
        Trouble."""
        headers = {} if if_version is None else {"If-Match": f'"v{if_version}"'}
        content = None
        if method != "DELETE":
            given = {name: value for name, value in (body or {}).items() if value is not None}
            content = json.dumps(given).encode()
            headers["Content-Type"] = "application/json"
        with self._translated():
            answer = self._open(path, query, headers, TIMEOUT_S, method=method, body=content).read()
        return self._read(path, answer) if answer else None

    def every(self, path: str, plural: str, query: Query = None, *, limit: int | None = None) -> list[Any]:
        """What a list holds, page by page, up to `limit` of it. Raises Trouble."""
        found: list[Any] = []
        cursor: object = None
        while limit is None or len(found) < limit:
            wanted = PAGE if limit is None else min(PAGE, limit - len(found))
            page = self.get(path, {**(query or {}), "limit": wanted, "cursor": cursor})
            found += page[plural]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return found

    def _read(self, path: str, body: bytes) -> Any:
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
        self,
        path: str,
        query: Query,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> http.client.HTTPResponse:
        """A successful response to be read. Parameters that are None are left out; True and False are written
        as JSON has them."""
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        target = f"{self._prefix}{path}{'?' + urlencode(given, quote_via=quote) if given else ''}"
        sent = {"Accept": "*/*", "User-Agent": "trunkline-cli", **headers}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        self._connection.timeout = timeout_s
        self._connection.request(method, target, body=body, headers=sent)
        response = self._connection.getresponse()
        if not 200 <= response.status < 300:
            raise _problem(response, path, given, signed_in=self._token.startswith(SESSION_PREFIX))
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


def _problem(
    response: http.client.HTTPResponse, path: str, given: Mapping[str, str], *, signed_in: bool
) -> Trouble:
    """An answer that is no success: RFC 9457 problem details, if it has them. given: the parameters.
    signed_in: the session of a person was shown, and no token."""
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
        or _remedy(response, slug, signed_in=signed_in)
        or str(document.get("remedy") or "Look at `trunkline status`."),
        exit_code=_EXIT_BY_STATUS.get(response.status, exits.FAULT),
        slug=slug,
    )


def _remedy(response: http.client.HTTPResponse, slug: str, *, signed_in: bool) -> str | None:
    if slug in _SAY_ENOUGH:
        return _SAY_ENOUGH[slug]
    if response.status == 401 and signed_in:
        return _SESSION_OVER
    waits = response.headers.get("Retry-After", "")
    if response.status == 429 and waits.isdecimal():
        return f"Try again in {waits} s."
    return _REMEDIES.get(response.status)


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
