"""Where a record stands: a position as one integer, so that one key orders every partition."""

from __future__ import annotations

from schemas.request_vault import Position

PARTITION_SHIFT = 48
NUMBER_MASK = (1 << PARTITION_SHIFT) - 1


def place_of(position: Position) -> int:
    return position[0] << PARTITION_SHIFT | position[1]


def position_of(place: int) -> Position:
    return place >> PARTITION_SHIFT, place & NUMBER_MASK
