"""Where the broker is: a bus URL taken apart and checked. Pure, but for reading the TLS files.

    amqp://user:password@host:5672/vhost
    amqps://user:password@host:5671/vhost?ca=ca.pem&cert=me.pem&key=me.key

Parameters: `ca` (a PEM file of the authorities to trust instead of the system's), `cert` and `key` (PEM files
of the client's own certificate), `heartbeat` (seconds, see `connection`), `namespace` (see `topology`). Shown
without the password everywhere.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
from yarl import URL

from bus.errors import CannotOpen

PORTS = {"amqp": 5672, "amqps": 5671}
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{0,40}")
PARAMETERS = ("ca", "cert", "heartbeat", "key", "namespace")


class Address(msgspec.Struct, frozen=True):
    """A broker, a virtual host on it, and how to be let in. `str` is safe to show."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    vhost: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    heartbeat_s: float | None = None
    namespace: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "" if self.vhost == "/" else f"/{quote(self.vhost, safe='')}"
        return f"{self.scheme}://{self.user}@{host}:{self.port}{vhost}"

    def url(self, *, heartbeat_s: int) -> URL:
        """What the driver connects to, password included."""
        return URL.build(
            scheme=self.scheme,
            user=self.user,
            password=self.password,
            host=self.host,
            port=self.port,
            path="/" if self.vhost == "/" else f"/{self.vhost}",
            query={"heartbeat": str(heartbeat_s)},
        )

    def tls(self) -> ssl.SSLContext | None:
        """None for amqp. Blocks on files. Raises CannotOpen naming the file that cannot be read."""
        if self.scheme != "amqps":
            return None
        for path in (self.ca, self.cert, self.key):
            if path is not None and not Path(path).is_file():
                raise CannotOpen(f"{self}: there is no file {path}")
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (ssl.SSLError, OSError) as error:
            raise CannotOpen(f"{self}: its certificates cannot be used: {error}") from error
        return context


def parse(url: str) -> Address:
    """Raises CannotOpen, naming what is wrong and never the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CannotOpen("the bus URL is no URL: its host or port cannot be read") from None
    if parts.scheme not in PORTS:
        raise CannotOpen(
            f"the bus URL begins with {parts.scheme + ':'!r}; RabbitMQ's with amqp:// or amqps://"
        )
    if not parts.hostname:
        raise CannotOpen(f"the bus URL names no host: {parts.scheme}://HOST[:PORT][/VHOST]")
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in PARAMETERS:
            raise CannotOpen(
                f"the bus URL has an unknown parameter {name!r}; known are {', '.join(PARAMETERS)}"
            )
        given[name] = value
    if parts.scheme == "amqp" and (tls := {"ca", "cert", "key"} & given.keys()):
        raise CannotOpen(f"the bus URL has {', '.join(sorted(tls))}, which need amqps:// instead of amqp://")
    if "key" in given and "cert" not in given:
        raise CannotOpen("the bus URL has a key but no cert")
    if not _NAMESPACE.fullmatch(given.get("namespace", "")):
        raise CannotOpen("the bus URL's namespace is not at most 40 letters, digits, '.', '_' and '-'")
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or PORTS[parts.scheme],
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path[1:]) or "/",
        ca=given.get("ca"),
        cert=given.get("cert"),
        key=given.get("key"),
        heartbeat_s=_heartbeat(given.get("heartbeat")),
        namespace=given.get("namespace", ""),
    )


def _heartbeat(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 600:
        raise CannotOpen(f"the bus URL's heartbeat is {text!r}; it is between 0.5 and 600 seconds")
    return seconds
