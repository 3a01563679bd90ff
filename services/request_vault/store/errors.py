"""Why a vault could not be opened. Each leaves the files as they are."""

from __future__ import annotations

from bus.errors import CannotOpen


class VaultUrlInvalid(CannotOpen):
    slug = "vault-url-invalid"
    meaning = "The vault's URL names no engine that this version has."
    remedy = (
        "Set TRUNKLINE_VAULT_URL to `sqlite:`, `sqlite:PATH` or `postgresql://USER:PASSWORD@HOST/DATABASE`, "
        "or leave it out."
    )


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


class VaultNoAccess(CannotOpen):
    slug = "vault-no-access"
    meaning = "The database server refuses the user, the password or the database that the vault's URL names."
    remedy = "Check TRUNKLINE_VAULT_URL; the user must be allowed to create tables in the vault's schema."


class VaultForeign(CannotOpen):
    slug = "vault-foreign"
    meaning = "The database schema that the vault's URL names holds something else; it was left as it is."
    remedy = "Name an empty database, or a schema of the vault's own (`?search_path=vault`)."


class VaultServerUnfit(CannotOpen):
    slug = "vault-server-unfit"
    meaning = "The database server cannot keep a vault: it is too old, or the database is not in UTF-8."
    remedy = "Use PostgreSQL 14 or newer, and a database with the encoding UTF8."


class VaultSpace(CannotOpen):
    slug = "vault-space"
    meaning = (
        "The vault is of an older format and cannot be rewritten: the disk has no room for a second copy."
    )
    remedy = "Make room on the disk that holds the vault, then start again; nothing was changed."
