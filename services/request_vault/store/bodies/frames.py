"""A compressed body: Zstandard frames of 256 KiB of plain bytes each, and an index at the end.

    frame ... frame | skippable: "TLB" 1, SHA-256 of the frames | skippable: seek table

The seek table is that of the Zstandard Seekable Format (version 0.1.0, in zstd's contrib/seekable_format),
without its checksums: the frames have their own. To other tools both skippable frames are nothing (RFC 8878
3.1.2): `zstd -d` gives the plain body. The digest is for `check`: not every flipped bit of a frame changes
what it decodes to. The digit is the version of this layout.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import zstandard

FRAME_BYTES = 256 * 1024
LEVEL = 3

_SKIPPABLE = struct.Struct("<II")  # magic, size of what follows
_ENTRY = struct.Struct("<II")  # of a frame: compressed size, plain size
_FOOTER = struct.Struct("<IBI")  # frames, descriptor, magic
_SEEK_TABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1
_SEAL_MAGIC = 0x184D2A50
_SEAL = b"TLB1"
_SEAL_BYTES = _SKIPPABLE.size + len(_SEAL) + hashlib.sha256().digest_size


class FrameDamaged(Exception):
    """The file is none of ours, or not what was written."""


class Frame(NamedTuple):
    """at, plain_at: where it begins in the file, and in the plain body."""

    at: int
    size_bytes: int
    plain_at: int
    plain_bytes: int


def compressed(plain: Iterable[bytes], at_most_bytes: int) -> list[bytes] | None:
    """The file that holds these plain bytes; None when it would be larger than `at_most_bytes`."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    parts: list[bytes] = []
    table: list[bytes] = []
    digest, size = hashlib.sha256(), _SEAL_BYTES + _SKIPPABLE.size + _FOOTER.size
    for piece in _pieces(plain):
        frame = compressor.compress(piece)
        size += len(frame) + _ENTRY.size
        if size > at_most_bytes:
            return None
        digest.update(frame)
        parts.append(frame)
        table.append(_ENTRY.pack(len(frame), len(piece)))
    parts.append(_seal(digest.digest()))
    entries = b"".join(table)
    parts.append(_SKIPPABLE.pack(_SEEK_TABLE_MAGIC, len(entries) + _FOOTER.size) + entries)
    parts.append(_FOOTER.pack(len(table), 0, _SEEKABLE_MAGIC))
    return parts


def read_index(file: BinaryIO, max_plain_bytes: int) -> list[Frame]:
    """The frames of an open file. Raises FrameDamaged unless they fill it exactly, and hold at most
    `max_plain_bytes`."""
    file_bytes = file.seek(0, 2)
    fixed = _SEAL_BYTES + _SKIPPABLE.size + _FOOTER.size
    if file_bytes < fixed:
        raise FrameDamaged(f"{file_bytes} bytes: too short")
    file.seek(file_bytes - _FOOTER.size)
    count, descriptor, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    if magic != _SEEKABLE_MAGIC or descriptor != 0:
        raise FrameDamaged("it does not end in a seek table")
    table_bytes = count * _ENTRY.size
    if count > max_plain_bytes // FRAME_BYTES + 1 or file_bytes < fixed + table_bytes:
        raise FrameDamaged(f"a seek table of {count} frames")
    file.seek(file_bytes - _FOOTER.size - table_bytes - _SKIPPABLE.size)
    if _SKIPPABLE.unpack(file.read(_SKIPPABLE.size)) != (_SEEK_TABLE_MAGIC, table_bytes + _FOOTER.size):
        raise FrameDamaged("its seek table does not begin where it should")
    frames: list[Frame] = []
    at = plain_at = 0
    for size, plain in _ENTRY.iter_unpack(file.read(table_bytes)):
        if not 1 <= plain <= FRAME_BYTES or (frames and frames[-1].plain_bytes != FRAME_BYTES):
            raise FrameDamaged(f"a frame of {plain} plain bytes")
        frames.append(Frame(at, size, plain_at, plain))
        at, plain_at = at + size, plain_at + plain
    if at != file_bytes - fixed - table_bytes:
        raise FrameDamaged(f"its frames make {at} bytes; they fill {file_bytes - fixed - table_bytes}")
    return frames


def read_plain(file: BinaryIO, frames: list[Frame], offset: int, size_bytes: int) -> bytes:
    """Plain bytes from `offset` on; only the frames that hold them are decompressed. Raises FrameDamaged."""
    end = offset + size_bytes
    parts = [
        _plain(file, frame)[max(offset - frame.plain_at, 0) : end - frame.plain_at]
        for frame in frames
        if frame.plain_at < end and offset < frame.plain_at + frame.plain_bytes
    ]
    return b"".join(parts)


def check(file: BinaryIO, max_plain_bytes: int, seen: Callable[[bytes], object]) -> None:
    """Read the whole file, every bit of it; `seen` is given the plain bytes, a frame at a time. Raises
    FrameDamaged."""
    frames = read_index(file, max_plain_bytes)
    digest = hashlib.sha256()
    for frame in frames:
        seen(_plain(file, frame, digest.update))
    file.seek(sum(frame.size_bytes for frame in frames))
    _compare_seal(file, digest.digest())


def check_seal(file: BinaryIO, frames: list[Frame]) -> None:
    """Read the whole file, but decompress nothing. Raises FrameDamaged unless its frames are those that were
    written."""
    digest = hashlib.sha256()
    left = sum(frame.size_bytes for frame in frames)
    file.seek(0)
    while left and (data := file.read(min(left, FRAME_BYTES))):
        digest.update(data)
        left -= len(data)
    _compare_seal(file, digest.digest())


def plain_bytes(frames: list[Frame]) -> int:
    """The size of the plain body."""
    return frames[-1].plain_at + frames[-1].plain_bytes if frames else 0


def _plain(file: BinaryIO, frame: Frame, seen: Callable[[bytes], object] | None = None) -> bytes:
    file.seek(frame.at)
    data = file.read(frame.size_bytes)
    if seen is not None:
        seen(data)
    try:
        if zstandard.frame_content_size(data) != frame.plain_bytes:
            raise FrameDamaged(f"the frame at {frame.at} is not the one that the seek table describes")
        plain = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameDamaged(f"the frame at {frame.at} cannot be decompressed: {error}") from error
    if len(plain) != frame.plain_bytes:
        raise FrameDamaged(f"the frame at {frame.at} has {len(plain)} plain bytes")
    return plain


def _compare_seal(file: BinaryIO, digest: bytes) -> None:
    """The file stands at the end of its frames."""
    if file.read(_SEAL_BYTES) != _seal(digest):
        raise FrameDamaged("its frames are not those that were written")


def _seal(digest: bytes) -> bytes:
    return _SKIPPABLE.pack(_SEAL_MAGIC, len(_SEAL) + len(digest)) + _SEAL + digest


def _pieces(plain: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, FRAME_BYTES at a time."""
    waiting = bytearray()
    for content in plain:
        waiting += content
        while len(waiting) >= FRAME_BYTES:
            yield bytes(waiting[:FRAME_BYTES])
            del waiting[:FRAME_BYTES]
    if waiting:
        yield bytes(waiting)
