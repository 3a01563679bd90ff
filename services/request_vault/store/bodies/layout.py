"""Where a directory keeps bodies, and what each of its names means.

<folder>/.lock                                        `files.locked`
<folder>/.deleted/<bucket>...                         a bucket that is being removed
<folder>/<bucket>/<aa>/<sha256>                       a body, plain
<folder>/<bucket>/<aa>/<sha256>.zst                   a body, compressed (`frames`); either is the body
<folder>/<bucket>/<aa>/<sha256>[.zst].damaged         one that was found damaged when it was read
<folder>/<bucket>/<aa>/<sha256>.<size>-<count>/<n>    the chunks so far of a body that is not whole
...<name>.<random>.tmp                                a file being written, or what a crash left of it
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from schemas.request_vault import BodyChunk
from services.request_vault.store.bodies.chunks import BUCKET

COMPRESSED = ".zst"
DAMAGED = ".damaged"
DELETED = ".deleted"

Kind = Literal["body", "chunks", "damaged", "unfinished"]

_SHARD = re.compile(r"[0-9a-f]{2}")
_KINDS: dict[Kind, re.Pattern[str]] = {
    "body": re.compile(r"([0-9a-f]{64})(?:\.zst)?"),
    "chunks": re.compile(r"([0-9a-f]{64})\.\d+-\d+"),
    "damaged": re.compile(r"([0-9a-f]{64})(?:\.zst)?\.damaged"),
    "unfinished": re.compile(r"([0-9a-f]{64})(?:\.zst)?(?:\.\w+)?\.tmp"),
}
_CHUNK = re.compile(r"\d+(?:\.\w+\.tmp)?")


class Entry(NamedTuple):
    """One name in a shard. kind, sha256: None and empty when it does not belong there."""

    path: Path
    kind: Kind | None
    sha256: str


@dataclass(frozen=True)
class Layout:
    folder: Path

    def plain(self, bucket: str, sha256: str) -> Path:
        return self.folder / bucket / sha256[:2] / sha256

    def compressed(self, bucket: str, sha256: str) -> Path:
        return self.folder / bucket / sha256[:2] / (sha256 + COMPRESSED)

    def forms(self, bucket: str, sha256: str) -> tuple[Path, Path]:
        """Both places of a body. It may be at both: two instances with other settings put it at once."""
        return self.plain(bucket, sha256), self.compressed(bucket, sha256)

    def aside(self, form: Path) -> Path:
        """Where one of the forms goes when it is damaged."""
        return form.with_name(form.name + DAMAGED)

    def chunks(self, chunk: BodyChunk) -> Path:
        """The folder of a body's chunks. Senders that cut it otherwise do not mix."""
        name = f"{chunk.sha256}.{chunk.size_bytes}-{chunk.count}"
        return self.folder / chunk.bucket / chunk.sha256[:2] / name

    def buckets(self) -> list[str]:
        return sorted(name for name in _names(self.folder) if BUCKET.fullmatch(name))

    def shards(self, bucket: str) -> list[Path]:
        folder = self.folder / bucket
        return [folder / name for name in sorted(_names(folder)) if _SHARD.fullmatch(name)]

    def strangers(self) -> list[Path]:
        """What is beside the shards and does not belong there."""
        top = [name for name in _names(self.folder) if name not in (".lock", DELETED)]
        found = [self.folder / name for name in top if not BUCKET.fullmatch(name)]
        for name in top:
            if BUCKET.fullmatch(name):
                folder = self.folder / name
                inner = _names(folder) if folder.is_dir() else None
                found += [folder] if inner is None else []
                found += [folder / each for each in inner or () if not _SHARD.fullmatch(each)]
        return sorted(found)


def entries(shard: Path) -> list[Entry]:
    """What is in a shard, by name; empty when it is gone."""
    return [_entry(shard / name) for name in sorted(_names(shard))]


def count(layout: Layout) -> tuple[int, int]:
    """How many bodies there are, and the bytes of their files."""
    bodies = stored_bytes = 0
    for bucket in layout.buckets():
        for shard in layout.shards(bucket):
            found = [entry for entry in entries(shard) if entry.kind == "body"]
            bodies += len({entry.sha256 for entry in found})
            for entry in found:
                with suppress(FileNotFoundError):
                    stored_bytes += entry.path.stat().st_size
    return bodies, stored_bytes


def is_set_aside(layout: Layout, bucket: str, sha256: str) -> bool:
    """Whether the body was found damaged; another may have come since."""
    return any(layout.aside(path).exists() for path in layout.forms(bucket, sha256))


def is_chunk(name: str) -> bool:
    """Whether a name inside a folder of chunks belongs there."""
    return bool(_CHUNK.fullmatch(name))


def _entry(path: Path) -> Entry:
    for kind, pattern in _KINDS.items():
        if (found := pattern.fullmatch(path.name)) and found[1][:2] == path.parent.name:
            return Entry(path, kind, found[1])
    return Entry(path, None, "")


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
