"""Bodies of calls, content-addressed within a bucket: the port, and its engine on a directory.

    bodies = DirectoryBodies(folder, clock, compress=True)
    await bodies.put(chunks)

Built by `service.build` and by the vault's command-line verbs; used by the handlers, retention and backups.
"""

from __future__ import annotations

from services.request_vault.store.bodies.chunks import MAX_BODY_BYTES
from services.request_vault.store.bodies.directory import DirectoryBodies
from services.request_vault.store.bodies.port import Bodies, BodyName, Copied, Damage, Referenced, Removed

__all__ = [
    "MAX_BODY_BYTES",
    "Bodies",
    "BodyName",
    "Copied",
    "Damage",
    "DirectoryBodies",
    "Referenced",
    "Removed",
]
