"""Passwords as they are kept: argon2id (RFC 9106 4, the second recommended option: 64 MiB, 3 passes,
4 lanes), sealed under the installation's key.

Two are hashed at once at most, in threads of their own: each takes 64 MiB. The others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from services.chassis.secrets import Secrets

AT_ONCE = 2

# Of no password at all: what a person without one is compared with, for as long as it takes.
_NOBODYS = f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}"


class Hashing:
    """Made by `Hashing.open`."""

    def __init__(self, secrets: Secrets, threads: Executor) -> None:
        self._secrets = secrets
        self._threads = threads
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._nobodys = secrets.seal(_NOBODYS.encode(), _context(""))

    @classmethod
    @contextmanager
    def open(cls, secrets: Secrets) -> Iterator[Hashing]:
        with ThreadPoolExecutor(AT_ONCE, "passwords") as threads:
            yield cls(secrets, threads)

    async def hashed(self, person: str, password: str) -> str:
        """Sealed. password: normalized."""
        loop = asyncio.get_running_loop()
        hash = await loop.run_in_executor(self._threads, self._hasher.hash, password)
        return self._secrets.seal(hash.encode(), _context(person))

    async def is_of(self, person: str, sealed: str, password: str) -> bool:
        """Whether it is the password whose hash this is. sealed: empty for somebody who has none or does not
        exist, which is no quicker. Raises SealUnreadable."""
        hash = self._opened(person, sealed) if sealed else self._opened("", self._nobodys)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._verified, hash, password) and bool(sealed)

    def is_outdated(self, person: str, sealed: str) -> bool:
        """Whether it would be hashed or sealed in another way today."""
        if self._secrets.sealed_by_old(sealed):
            return True
        return self._hasher.check_needs_rehash(self._opened(person, sealed))

    def _opened(self, person: str, sealed: str) -> str:
        return self._secrets.open(sealed, _context(person)).decode()

    def _verified(self, hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _context(person: str) -> str:
    return f"identity.password.{person}"
