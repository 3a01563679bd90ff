"""Why a vault could not be opened. Each leaves the files as they are."""

from __future__ import annotations

from bus.errors import CannotOpen


class VaultUrlInvalid(CannotOpen):
    slug = "vault-url-invalid"
    meaning = "The vault's URL names no engine that this version has."
    remedy = "Set TRUNKLINE_VAULT_URL to `sqlite:` or `sqlite:PATH`, or leave it out."


class VaultInUse(CannotOpen):
    slug = "vault-in-use"
    meaning = "Another process has this SQLite vault open; it serves one process."
    remedy = "Stop the other process, or give this one another data folder (TRUNKLINE_DATA_DIR)."


class VaultDamaged(CannotOpen):
    slug = "vault-damaged"
    meaning = "The vault's database cannot be read; it was left as it is."
    remedy = "Restore it from a backup, or move it aside to start with an empty one; keep the damaged file."


class VaultVersion(CannotOpen):
    slug = "vault-version"
    meaning = "The vault's database was written by another version of its format; it was left as it is."
    remedy = "Use the version of Trunkline that wrote it, or move the file aside."
