"""The installation's key, and what is made of it: keys for purposes, and sealed texts.

Called by the services that keep secrets of others (`identity`) or compare them (the gateway's redaction).
The key is 32 random bytes: the setting `secret_key`, else the file `installation.key` in the data folder,
which is made once. Several keys may stand there, separated by commas or on lines of their own: the first
seals, each opens. So a key is replaced by putting a new one in front, sealing anew what the old one had
sealed (`sealed_by_old`), and taking the old one out.

A sealed text is `s1.<key id>.<base64url>`: 12 bytes of nonce, then AES-256-GCM (NIST SP 800-38D) under the
key derived for sealing, over the SHA-256 of the context and the plain bytes; what stands in front is
authenticated with it. Random nonces are good for 2^32 texts under one key. Keys are derived by HKDF-SHA256
(RFC 5869).

No key is ever in a message, a log or a repr; the id of one, 8 hex digits, may be."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bus.errors import BusError, CannotOpen
from services.chassis.config import PREFIX

KEY_BYTES = 32
KEY_FILE = "installation.key"
SETTING = f"{PREFIX}SECRET_KEY"
VERSION = "s1"

_NONCE_BYTES = 12
_TAG_BYTES = 16
_DIGEST_BYTES = hashlib.sha256().digest_size
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_SEALED = re.compile(rf"{VERSION}\.([0-9a-f]{{8}})\.([A-Za-z0-9_-]+)")
_MAKE_ONE = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


class SecretKeyInvalid(CannotOpen):
    slug = "secret-key-invalid"
    meaning = "The installation's key is not 32 bytes in base64url, or stands there twice."
    remedy = f"Give the key that was used so far; a new one is made by {_MAKE_ONE}."


class SecretKeyMissing(CannotOpen):
    slug = "secret-key-missing"
    meaning = "Services that share a bus need one key of the installation, and this process has none."
    remedy = f"Set TRUNKLINE_SECRET_KEY to the same value for every process; one is made by {_MAKE_ONE}."


class KeyFileExposed(CannotOpen):
    slug = "key-file-exposed"
    meaning = "Others than its owner may read the file with the installation's key."
    remedy = "Make it private with chmod 600, and replace the key if somebody may have read it."
    exit_code = 77


class KeyFileUnusable(CannotOpen):
    slug = "key-file-unusable"
    meaning = "The file with the installation's key can be neither read nor made."
    remedy = "Give this user the data folder and the file, or set TRUNKLINE_SECRET_KEY."
    exit_code = 77


class SealUnreadable(BusError):
    """The root of what `Secrets.open` raises."""

    slug = "sealed-unreadable"
    meaning = "A sealed secret is not in the form that this version seals in."
    remedy = "Use the version of Trunkline that sealed it, or set the secret again."


class SealKeyUnknown(SealUnreadable):
    slug = "sealed-key-unknown"
    meaning = "A secret was sealed under a key that this process does not have."
    remedy = (
        "Give every process of the installation the same TRUNKLINE_SECRET_KEY, old keys behind the new one."
    )


class SealDamaged(SealUnreadable):
    slug = "sealed-damaged"
    meaning = "A sealed secret was changed after it had been sealed."
    remedy = "Restore it from a backup, or set the secret again; find out who can write there."


class SealMisplaced(SealUnreadable):
    slug = "sealed-misplaced"
    meaning = "A sealed secret stands where it was not sealed for, such as in another bucket."
    remedy = "Set the secret again where it belongs; find out who can write there."


class Secrets:
    """Made by `open_secrets`. Immutable; one per process."""

    __slots__ = ("_keys", "_random", "_seals", "ids")

    def __init__(self, keys: Sequence[bytes], random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """`keys`: the first seals, all open. Raises SecretKeyInvalid."""
        self._random = random
        self._keys = tuple(keys)
        for position, key in enumerate(self._keys, 1):
            if len(key) != KEY_BYTES:
                _wrong("the keys", position, len(self._keys), f"has {len(key)} bytes instead of {KEY_BYTES}")
        if not self._keys:
            raise SecretKeyInvalid("there is no key")
        self.ids = tuple(_derived(key, "id", "")[:4].hex() for key in self._keys)
        if len(set(self.ids)) < len(self.ids):
            raise SecretKeyInvalid("the same key stands there twice")
        self._seals = {
            id: AESGCM(_derived(key, "seal", "")) for id, key in zip(self.ids, self._keys, strict=True)
        }

    def derived(self, purpose: str, context: str = "") -> bytes:
        """32 bytes that belong to `purpose` ("redaction") and `context` (a bucket's id), always the same
        under the first key. They tell nothing about the key, nor about those for anything else."""
        return _derived(self._keys[0], f"for:{purpose}", context)

    def derived_each(self, purpose: str, context: str = "") -> tuple[bytes, ...]:
        """`derived` under each key, the first key's first: to check what was made under an older one."""
        return tuple(_derived(key, f"for:{purpose}", context) for key in self._keys)

    def seal(self, plain: bytes, context: str) -> str:
        """A text that `open` turns back into `plain`, under the same context only. Twice is two texts."""
        id = self.ids[0]
        front = f"{VERSION}.{id}"
        nonce = self._random(_NONCE_BYTES)
        sealed = self._seals[id].encrypt(nonce, _digest(context) + plain, front.encode())
        return f"{front}.{_encoded(nonce + sealed)}"

    def open(self, sealed: str, context: str) -> bytes:
        """What was sealed. Raises SealKeyUnknown, SealMisplaced, SealDamaged; SealUnreadable for what is no
        sealed text."""
        match = _SEALED.fullmatch(sealed)
        data = _decoded(match[2]) if match is not None else None
        if match is None or data is None or len(data) < _NONCE_BYTES + _DIGEST_BYTES + _TAG_BYTES:
            raise SealUnreadable(f"this is no text sealed in the form {VERSION}")
        id = match[1]
        if id not in self._seals:
            raise SealKeyUnknown(
                f"it was sealed under the key {id}; the keys here are {', '.join(self.ids)} ({SETTING})"
            )
        try:
            opened = self._seals[id].decrypt(
                data[:_NONCE_BYTES], data[_NONCE_BYTES:], f"{VERSION}.{id}".encode()
            )
        except InvalidTag:
            raise SealDamaged(f"what was sealed under the key {id} is not what stands here") from None
        if opened[:_DIGEST_BYTES] != _digest(context):
            raise SealMisplaced(f"it was sealed for something else than {context!r}")
        return opened[_DIGEST_BYTES:]

    def sealed_by_old(self, sealed: str) -> bool:
        """Whether another key than the first sealed it, so that it is to be sealed anew."""
        match = _SEALED.fullmatch(sealed)
        return match is not None and match[1] != self.ids[0]

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.ids)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled or copied")


def open_secrets(
    setting: str,
    data_dir: Path,
    random: Callable[[int], bytes] = secrets.token_bytes,
    *,
    make: bool = True,
) -> Secrets:
    """The keys of `setting`, else those of the file in `data_dir`, which is made if it is not there; of
    several processes that start at once, one makes it and all read it. make: false where processes on other
    machines would not have it. Raises SecretKeyInvalid, SecretKeyMissing, KeyFileExposed, KeyFileUnusable.
    Blocks on the disk."""
    if setting.strip():
        return _parsed(setting, SETTING, random)
    file = data_dir / KEY_FILE
    try:
        if not file.exists():
            if not make:
                raise SecretKeyMissing(f"{SETTING} is not set, and there is no {file}")
            _make(file, _encoded(random(KEY_BYTES)))
        with file.open("r", encoding="utf-8", errors="replace") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileExposed(f"{file} has mode {mode:04o}; only its owner may read it (0600)")
            text = opened.read()
    except OSError as error:
        raise KeyFileUnusable(f"{file}: {error.strerror}") from error
    return _parsed(text, str(file), random)


def _make(file: Path, key: str) -> None:
    """Whole or not at all, and never over one that is there."""
    beside = file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")  # containers share process ids
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(f"{key}\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(beside, file)
        except FileExistsError:
            return  # another process was first
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        beside.unlink(missing_ok=True)


def _parsed(text: str, where: str, random: Callable[[int], bytes]) -> Secrets:
    entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
    keys = []
    for position, entry in enumerate(entries, 1):
        key = _decoded(entry.rstrip("="))
        if key is None:
            _wrong(where, position, len(entries), "is no base64url (letters, digits, - and _)")
        if len(key) != KEY_BYTES:
            _wrong(where, position, len(entries), f"has {len(key)} bytes instead of {KEY_BYTES}")
        keys.append(key)
    if not keys:
        raise SecretKeyInvalid(f"{where} holds no key")
    try:
        return Secrets(keys, random)
    except SecretKeyInvalid as error:
        raise SecretKeyInvalid(f"{where}: {error}") from None


def _wrong(where: str, position: int, count: int, what: str) -> NoReturn:
    which = "the key" if count == 1 else f"key {position} of {count}"
    raise SecretKeyInvalid(f"{where}: {which} {what}")


def _derived(key: bytes, purpose: str, context: str) -> bytes:
    """Lengths stand before names, so that no two pairs are one text."""
    info = f"trunkline 1 {len(purpose)}:{purpose} {len(context)}:{context}".encode()
    return HKDF(SHA256(), KEY_BYTES, None, info).derive(key)


def _digest(context: str) -> bytes:
    return hashlib.sha256(context.encode()).digest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes | None:
    """None for what `_encoded` would not write: a sealed text has one form only."""
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if _encoded(data) == text else None
