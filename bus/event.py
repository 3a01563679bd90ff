"""The envelope of every event: CloudEvents 1.0 attributes around data that is still encoded.

Made by the publisher, read by subscribers. `data` stays msgpack until somebody asks for it with `read`, so
that a service that only stores or routes events pays nothing for their content. The order of the fields is
the wire format (`bus.codec`): new fields are added at the end, with a default, and none is ever removed.
"""

from __future__ import annotations

import builtins
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from bus.errors import Malformed, UnknownType
from bus.message import Message

M = TypeVar("M", bound=Message)

EMPTY = msgspec.Raw(b"\x80")


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """Where the vault recorded an event; only on what the vault published from its log.

    position: (partition, number). prev: the number before it in the same category, None for the category's
    first.
    """

    stream: str
    version: int
    position: tuple[int, int]
    prev: int | None


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An immutable fact in its envelope. Identity is (source, id).

    key: the topic's last part (the bucket, or `_`). subject: what the event is about. time: when it happened,
    aware, UTC.
    correlationid: the id of the event that a whole tree of causes began with; causationid: the id of the one
    before.
    """

    id: str
    source: str
    type: str
    version: int
    key: str
    subject: str | None
    time: datetime
    data: msgspec.Raw = EMPTY
    partitionkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    stamp: Stamp | None = None

    @property
    def topic(self) -> str:
        return f"{self.type}.{self.key}"

    @property
    def identity(self) -> tuple[str, str]:
        return self.source, self.id

    @property
    def dataschema(self) -> str:
        """CloudEvents' `dataschema`: type and version as a URI reference."""
        return f"/schemas/{self.type}/{self.version}"

    def read(self, message: builtins.type[M]) -> M:
        """The data as `message`; those of an older version are brought up to it (`Message.upcast`). Raises
        UnknownType when this event is of another type or of a newer version, Malformed (naming the field)
        when the data do not fit."""
        if self.type != message.TYPE or self.version > message.VERSION:
            raise UnknownType(
                f"event {self.id} is {self.type} version {self.version}, "
                f"not {message.TYPE} version {message.VERSION}"
            )
        data: M = decode_data(self._upcast(message) if self.version < message.VERSION else self.data, message)
        return data

    def _upcast(self, message: builtins.type[Message]) -> bytes:
        plain = self.plain()
        for version in range(self.version, message.VERSION):
            try:
                plain = message.upcast(version, plain)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise Malformed(
                    f"data of {self.type} version {version} cannot be brought to version {version + 1}: "
                    f"{error!r}"
                ) from error
        return msgspec.msgpack.encode(plain)

    def plain(self) -> Any:
        """The data as plain dicts, lists, strings and bytes."""
        return decode_data(self.data, None)


def decode_data(data: msgspec.Raw | bytes, message: type[M] | None) -> Any:
    """Data bytes (msgpack) as `message`, or as plain values for None. Raises Malformed."""
    try:
        return _decoder(message).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        what = "data" if message is None else f"data of {message.TYPE or message.__name__}"
        raise Malformed(f"{what}: {error}") from error


@lru_cache(maxsize=1024)
def _decoder(message: type[Message] | None) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(Any if message is None else message)
