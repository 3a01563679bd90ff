from __future__ import annotations

from bus.codec import MAX_BATCH_BYTES
from bus.rabbitmq.window import Window

MIB = 1024 * 1024


def fed(window: Window, size: int, count: int) -> Window:
    for _ in range(count):
        window.note(size)
    return window


def test_a_window_begins_with_as_many_full_batches_as_fit() -> None:
    assert Window(256, 8 * MIB).frames == 8 * MIB // MAX_BATCH_BYTES
    assert Window(4, 8 * MIB).frames == 4
    assert Window(256, 1).frames == 1


def test_a_window_opens_for_small_frames_up_to_its_limit() -> None:
    window = fed(Window(256, 8 * MIB), 500, 15)
    assert window.wants(32) is None, "too few to know"
    assert fed(window, 500, 1).wants(32) == 256
    assert window.wants(256) is None


def test_a_window_closes_for_large_frames() -> None:
    window = fed(fed(Window(256, 8 * MIB), 500, 100), MIB, 60)
    assert window.wants(256) == 8
    assert window.wants(10) is None, "not worth a change"
