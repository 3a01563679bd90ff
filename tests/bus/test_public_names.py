"""The public names of `bus` follow semantic versioning: taking one away or renaming it is a new major
version, and adding one is a decision that is made here."""

from __future__ import annotations

import bus

PUBLIC = {
    "Ask",
    "AskFailed",
    "Backpressure",
    "Bus",
    "BusError",
    "CannotOpen",
    "Clock",
    "DeadlinePassed",
    "Delivery",
    "Event",
    "Fact",
    "InUse",
    "JournalDamaged",
    "JournalVersion",
    "Malformed",
    "Message",
    "NobodyAnswers",
    "NotParked",
    "NotRouted",
    "Parked",
    "Refused",
    "Reject",
    "Retry",
    "Router",
    "Signal",
    "Stamp",
    "Subscription",
    "SystemClock",
    "TooLarge",
    "TopicInvalid",
    "TopologyDiffers",
    "Unavailable",
    "UnknownType",
    "connect",
}


def test_the_public_names_are_these() -> None:
    assert set(bus.__all__) == PUBLIC


def test_every_public_name_exists_and_is_explained() -> None:
    for name in bus.__all__:
        value = getattr(bus, name)
        assert value.__doc__ or (issubclass(value, bus.BusError) and value.meaning), name
