"""Trunkline's message bus: durable events, asks and signals with the same promises over RabbitMQ or one
embedded journal.

A library that knows no business. What is named here is its public face and follows semantic versioning.
"""

from __future__ import annotations

from bus.clock import Clock, SystemClock
from bus.connect import Bus, connect
from bus.errors import (
    AskFailed,
    Backpressure,
    BusError,
    CannotOpen,
    DeadlinePassed,
    InUse,
    JournalDamaged,
    JournalVersion,
    Malformed,
    NobodyAnswers,
    NotRouted,
    Refused,
    Reject,
    Retry,
    TooLarge,
    TopicInvalid,
    TopologyDiffers,
    Unavailable,
    UnknownType,
)
from bus.event import Event, Stamp
from bus.message import Ask, Fact, Message, Signal, Subscription
from bus.parking import NotParked, Parked
from bus.router import Delivery, Router

__all__ = [
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
]
