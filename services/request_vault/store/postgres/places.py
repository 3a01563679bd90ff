"""Where a record stands, and where its row is kept.

A place is a position as one integer, `partition << 48 | number`. A row of `record` lies in a leaf of the
table: by class, then by the day on which it was recorded. A class is the age, in days, after which
retention may drop what is in it; decisions, what outlives its age, and what has none have classes of their
own.
"""

from __future__ import annotations

from schemas.request_vault import Position

PARTITION_SHIFT = 48
NUMBER_MASK = (1 << PARTITION_SHIFT) - 1

DECIDED = -2
KEPT = -1
FOREVER = 0
AGES = (1, 7, 30, 90, 365)
"""The age classes. A leaf spans so many days that a class has some tens of them."""

DAY_US = 86_400 * 1_000_000
_SPANS = {FOREVER: 30, 1: 1, 7: 1, 30: 1, 90: 7, 365: 30}

Leaf = tuple[int, int]
"""A class, and the first day that the leaf spans (days since 1970; 0 where a class has one leaf only)."""


def position_of(place: int) -> Position:
    return place >> PARTITION_SHIFT, place & NUMBER_MASK


def first_place(partition: int) -> int:
    """Below every place of the partition."""
    return partition << PARTITION_SHIFT


def class_of(age_days: int | None) -> int:
    """The class for what is kept so many days: the shortest that is no shorter. None: forever."""
    if age_days is None:
        return FOREVER
    return next((age for age in AGES if age >= age_days), FOREVER)


def day_of(class_: int, recorded_us: int) -> int:
    """The day that a row of this class and time is kept under."""
    return recorded_us // DAY_US if class_ in _SPANS else 0


def leaf_of(class_: int, day: int) -> Leaf:
    span = _SPANS.get(class_)
    return (class_, 0) if span is None else (class_, day // span * span)


def days_of(leaf: Leaf) -> range:
    return range(leaf[1], leaf[1] + _SPANS.get(leaf[0], 1))


def is_spanned(class_: int) -> bool:
    """Whether the class has a leaf for each span of days."""
    return class_ in _SPANS
