"""An API that answers what a test tells it to, and remembers what it was asked: for what a verb sends, and
how it says what comes back."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

from services.cli import credentials, main
from services.cli.credentials import Credentials

TOKEN = "tl_file"
BUCKET = "7xzcnsgbwox2"


class ATerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Asked(NamedTuple):
    """body: the JSON document, None without one."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: Mapping[str, str]


class Problem(NamedTuple):
    status: int
    slug: str
    detail: str = "said so"
    headers: tuple[tuple[str, str], ...] = ()


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


Answer = Any | Problem | Callable[[Asked], Any]


class FakeApi:
    """answers: by `METHOD /path`. Anything else is answered 404, slug not-found."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        credentials.write(
            folder / credentials.FILE_NAME, Credentials(url, "http://gw.example", BUCKET, TOKEN)
        )

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        at_terminal: bool = False,
        said: Mapping[str, str] | None = None,
    ) -> Ended:
        """A command beside the API's credentials.toml. at_terminal: whether standard input is one. said: in
        the environment."""
        out, err = io.StringIO(), io.StringIO()
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        with (
            mock.patch.dict(
                os.environ, plain | {"TRUNKLINE_DATA_DIR": str(self.folder)} | dict(said or {}), clear=True
            ),
            mock.patch("sys.stdin", (ATerminal if at_terminal else io.StringIO)(stdin)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main(arguments)
        return Ended(code, out.getvalue(), err.getvalue())

    @property
    def changes(self) -> list[Asked]:
        """What was asked that is no reading."""
        return [asked for asked in self.asked if asked.method != "GET"]

    def answer(self, asked: Asked) -> tuple[int, Any, tuple[tuple[str, str], ...]]:
        self.asked.append(asked)
        found = self.answers.get(f"{asked.method} {asked.path}", Problem(404, "not-found"))
        if callable(found):
            found = found(asked)
        if isinstance(found, Problem):
            document = {"type": f"https://x/errors#{found.slug}", "title": "t", "detail": found.detail}
            return found.status, document, found.headers
        return 200, found, ()


@contextmanager
def a_fake_api(folder: Path) -> Iterator[FakeApi]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query)),
                json.loads(body) if body else None,
                dict(self.headers.items()),
            )
            status, document, headers = api.answer(asked)
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (*headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = FakeApi(folder, f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
