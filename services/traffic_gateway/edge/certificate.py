"""The certificate with which the gateway speaks TLS to its clients. Called by `service`.

It is two PEM files. When either changes they are read again, within LOOKS_S and without a restart, so that
whoever renews certificates only has to write files; connections that stand keep what they began with. New
files that do not go together change nothing, and are logged until they do.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

import structlog

from bus.clock import Clock
from services.chassis.config import PREFIX, ConfigInvalid

LOOKS_S = 10.0
CERT, KEY, PORT = (f"{PREFIX}GATEWAY_TLS_{name}" for name in ("CERT", "KEY", "PORT"))

_log = structlog.get_logger("traffic_gateway")

Seen = tuple[tuple[int, int, int], ...]


class Certificate:
    """context: for the listener; its certificate is replaced in place. Raises ConfigInvalid, naming the file
    at fault."""

    def __init__(self, cert: str, key: str) -> None:
        if not cert:
            raise ConfigInvalid(f"{PORT} is set, but {CERT} is not: it names the file with the certificate")
        self._cert = Path(cert).expanduser()
        self._key = Path(key).expanduser() if key else self._cert
        self._seen = self._look()
        self.context = _context()
        self._load(self.context)

    async def follow(self, clock: Clock) -> NoReturn:
        """Read the files again when they change."""
        while True:
            await clock.sleep(LOOKS_S)
            self.renew()

    def renew(self) -> bool:
        """Whether there were new files that go together, and are in use from now on."""
        try:
            seen = self._look()
            if seen == self._seen:
                return False
            self._load(_context())  # a live one must not be left with half of a pair
            self._load(self.context)
        except ConfigInvalid as error:
            _log.error("the new TLS certificate is not used", error=str(error))
            return False
        self._seen = seen
        _log.info("a new TLS certificate is in use", file=str(self._cert))
        return True

    def _look(self) -> Seen:
        """What tells that a file was changed."""
        seen = []
        for setting, path in ((CERT, self._cert), (KEY, self._key)):
            try:
                now = path.stat()
            except OSError as error:
                raise ConfigInvalid(f"{setting}: {path} cannot be read: {error.strerror}") from error
            seen.append((now.st_mtime_ns, now.st_size, now.st_ino))
        return tuple(seen)

    def _load(self, context: ssl.SSLContext) -> None:
        for setting, path, wanted in (
            (CERT, self._cert, b"-----BEGIN CERTIFICATE-----"),
            (KEY, self._key, b"PRIVATE KEY-----"),
        ):
            try:
                text = path.read_bytes()
            except OSError as error:
                raise ConfigInvalid(f"{setting}: {path} cannot be read: {error.strerror}") from error
            if wanted not in text:
                what = "certificate" if setting == CERT else "private key"
                raise ConfigInvalid(f"{setting}: {path} holds no {what} in PEM form")
        try:
            context.load_cert_chain(self._cert, self._key, password=self._no_password)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            raise ConfigInvalid(
                f"{CERT} and {KEY}: {self._cert} and {self._key} cannot be used: {reason}"
            ) from error

    def _no_password(self) -> str:
        raise ConfigInvalid(f"{KEY}: {self._key} is encrypted; the gateway takes a key without a passphrase")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
