"""How many frames a consumer may have in hand: a prefetch that follows the mean size. Pure; for `intake`."""

from __future__ import annotations

from bus.codec import MAX_BATCH_BYTES

_LEARN_FROM = 16


class Window:
    """How many frames may be in hand: `most_frames`, and no more than `most_bytes` of frames of the mean
    size. Pure.

    Until sizes are known, as many as fit if each were a full batch.
    """

    def __init__(self, most_frames: int, most_bytes: int) -> None:
        self.most_frames = max(1, most_frames)
        self._most_bytes = most_bytes
        self._mean_bytes = float(MAX_BATCH_BYTES)
        self._seen = 0

    def note(self, size: int) -> None:
        """A frame of `size` bytes has come."""
        self._seen += 1
        weight = 1 / min(self._seen, _LEARN_FROM)
        self._mean_bytes += (size - self._mean_bytes) * weight

    @property
    def frames(self) -> int:
        return max(1, min(self.most_frames, int(self._most_bytes / max(1.0, self._mean_bytes))))

    def wants(self, prefetch: int) -> int | None:
        """Another prefetch, when it is worth a change: by half more, or by half less."""
        if self._seen < _LEARN_FROM:
            return None
        frames = self.frames
        if (
            frames >= prefetch * 1.5
            or (frames == self.most_frames and frames > prefetch)
            or frames <= prefetch / 2
        ):
            return frames
        return None
