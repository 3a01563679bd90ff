"""Why a verb could not do what it was asked. Each leaves what was there as it was."""

from __future__ import annotations

from typing import ClassVar


class VerbFailed(Exception):
    """The root. `str(error)` names what is wrong; `remedy` says what to do."""

    slug: ClassVar[str] = "verb-failed"
    meaning: ClassVar[str] = "A command over the vault's files failed in a way that has no name of its own."
    remedy: ClassVar[str] = "Read the message; if it does not help, report it."
    exit_code: ClassVar[int] = 70


class VaultMissing(VerbFailed):
    slug = "vault-missing"
    meaning = "There is no vault where the settings say that it is."
    remedy = "Name the installation's data folder with --data-dir, or set TRUNKLINE_VAULT_URL as it does."
    exit_code = 66


class VaultNotEmpty(VerbFailed):
    slug = "vault-not-empty"
    meaning = "The vault that was to be restored into holds events already; it was left as it is."
    remedy = "Restore into an empty one: another data folder, or another database."
    exit_code = 73


class ErasureRunning(VerbFailed):
    slug = "erasure-running"
    meaning = (
        "An erasure of the vault is not finished: an export would hold what it has still to erase, and would "
        "not know of it. Nothing was written."
    )
    remedy = (
        "Let it finish; a vault that is stopped goes on with it when it is started. A backup takes it along."
    )
    exit_code = 75


class BackupExists(VerbFailed):
    slug = "backup-exists"
    meaning = "There is something where the backup was to go; it was left as it is."
    remedy = "Choose a folder that does not exist yet."
    exit_code = 73


class BackupDamaged(VerbFailed):
    slug = "backup-damaged"
    meaning = (
        "The folder is no backup of a vault, or what is in it is not what was written; nothing was restored."
    )
    remedy = "Use another backup. `trunkline vault verify` says whether the vault itself is sound."
    exit_code = 65


class ExportExists(VerbFailed):
    slug = "export-exists"
    meaning = "There is a file where the export was to go; it was left as it is."
    remedy = "Choose another name, or overwrite it with --force."
    exit_code = 73


class ExportTorn(VerbFailed):
    slug = "export-torn"
    meaning = "An export ends in the middle: what came before is in the vault, the rest is not."
    remedy = "Get the whole file and import it again; the import goes on where this one ended."
    exit_code = 65


class ExportInvalid(VerbFailed):
    slug = "export-invalid"
    meaning = (
        "A line of an export cannot be read, or does not fit those before it; nothing of it was taken in."
    )
    remedy = "Export the vault again; if the line is from a newer Trunkline, import it with that one."
    exit_code = 65


class VaultUnsound(VerbFailed):
    slug = "vault-unsound"
    meaning = "The vault is damaged, so a copy of it would be damaged too; none was made."
    remedy = "`trunkline vault verify` names all that is damaged; restore a backup."
    exit_code = 65


class NoRoom(VerbFailed):
    slug = "no-room"
    meaning = "The disk has not enough room for what was to be written."
    remedy = "Make room, or write to another disk."
    exit_code = 73


class CannotWrite(VerbFailed):
    slug = "cannot-write"
    meaning = "A file or folder could not be written or read."
    remedy = "Check that the folder exists and may be written, and that the disk is not full."
    exit_code = 73
