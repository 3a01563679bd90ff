"""HAR 1.2 as typed structs: what the format demands of each object. `check` reads a document strictly.

Source: http://www.softwareishard.com/blog/har-12-spec/. Names the format does not know must begin with an
underscore.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

Millis = Annotated[float, msgspec.Meta(ge=0)]
MaybeMillis = Annotated[float, msgspec.Meta(ge=-1)]
Size = Annotated[int, msgspec.Meta(ge=-1)]


class Pair(msgspec.Struct):
    name: str
    value: str
    comment: str = ""


class Cookie(msgspec.Struct):
    name: str
    value: str
    path: str = ""
    domain: str = ""
    expires: datetime | None = None
    httpOnly: bool = False
    secure: bool = False
    comment: str = ""


class Param(msgspec.Struct):
    name: str
    value: str = ""
    fileName: str = ""
    contentType: str = ""
    comment: str = ""


class PostData(msgspec.Struct):
    mimeType: str
    text: str
    params: list[Param] = []
    comment: str = ""


class Request(msgspec.Struct):
    method: str
    url: str
    httpVersion: str
    cookies: list[Cookie]
    headers: list[Pair]
    queryString: list[Pair]
    headersSize: Size
    bodySize: Size
    postData: PostData | None = None
    comment: str = ""


class Content(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0)]
    mimeType: str
    compression: int = 0
    text: str = ""
    encoding: str = ""
    comment: str = ""


class Response(msgspec.Struct):
    status: int
    statusText: str
    httpVersion: str
    cookies: list[Cookie]
    headers: list[Pair]
    content: Content
    redirectURL: str
    headersSize: Size
    bodySize: Size
    comment: str = ""


class Timings(msgspec.Struct):
    send: Millis
    wait: Millis
    receive: Millis
    blocked: MaybeMillis = -1
    dns: MaybeMillis = -1
    connect: MaybeMillis = -1
    ssl: MaybeMillis = -1
    comment: str = ""


class Cache(msgspec.Struct):
    comment: str = ""


class Entry(msgspec.Struct):
    startedDateTime: datetime
    time: Millis
    request: Request
    response: Response
    cache: Cache
    timings: Timings
    serverIPAddress: str = ""
    connection: str = ""
    pageref: str = ""
    comment: str = ""


class Creator(msgspec.Struct):
    name: str
    version: str
    comment: str = ""


class Log(msgspec.Struct):
    version: str
    creator: Creator
    entries: list[Entry]
    comment: str = ""


class Archive(msgspec.Struct):
    log: Log


def check(document: bytes) -> Archive:
    """The archive, read. Raises ValidationError, or AssertionError for a name the format does not know."""
    archive = msgspec.json.decode(document, type=Archive)
    _names(msgspec.json.decode(document), msgspec.to_builtins(archive), "$")
    assert archive.log.version == "1.2"
    for entry in archive.log.entries:
        phases = entry.timings
        parts = (phases.blocked, phases.dns, phases.connect, phases.send, phases.wait, phases.receive)
        assert abs(entry.time - sum(part for part in parts if part >= 0)) < 0.01
        assert phases.ssl <= max(phases.connect, -1)
    return archive


def _names(given: Any, known: Any, at: str) -> None:
    if isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            _names(one, other, f"{at}[{index}]")
    elif isinstance(given, dict):
        for name, value in given.items():
            if not name.startswith("_"):
                assert name in known, f"{at}.{name} is no field of HAR 1.2"
                _names(value, known[name], f"{at}.{name}")
