"""Bodies that were captured decoded, because something in them had to be masked: their headers still name the
coding, and nobody who reads them undoes it again."""

from __future__ import annotations

import gzip
import json
import shlex
from typing import Any

import msgspec
import pytest

from schemas.traffic_gateway import Body, CallCaptured, Headers
from services.calls import har, snippet
from services.calls.body import as_kept, readable
from services.calls.words.indexing import indexed
from services.cli.replay import headers_to_send
from tests.services.calls.made import body_of, call_of

PLAIN = b'{"password":"[redacted:key:01234567]","note":"findme"}'
CODED: Headers = (("Content-Type", "application/json"), ("CONTENT-Encoding", "gzip"))
CODINGS = ["gzip", "deflate", "br", "zstd"]


def call(coding: str = "gzip") -> CallCaptured:
    headers: Headers = (("Content-Type", "application/json"), ("Content-Encoding", coding))
    made = call_of("POST", request_headers=(("Host", "api.example.com"), *headers), response_headers=headers)
    body = msgspec.structs.replace(body_of(PLAIN), size_bytes=44, decoded=True)
    assert made.response is not None
    return msgspec.structs.replace(
        made,
        request=msgspec.structs.replace(made.request, body=body),
        response=msgspec.structs.replace(made.response, body=body),
    )


@pytest.mark.parametrize("coding", CODINGS)
def test_it_is_shown_as_it_was_kept(coding: str) -> None:
    response = call(coding).response
    assert response is not None
    shown = readable(as_kept(response.headers, response.body), PLAIN)
    assert shown.text is not None
    assert json.loads(shown.text) == json.loads(PLAIN)
    assert (shown.kind, shown.complete, shown.codings, shown.note) == ("json", True, (), None)


def test_the_headers_of_other_bodies_say_what_they_said() -> None:
    assert as_kept(CODED, Body()) is CODED
    assert as_kept(CODED, Body(decoded=True)) == (("Content-Type", "application/json"),)
    data = gzip.compress(PLAIN)
    assert readable(as_kept(CODED, body_of(data)), data).codings == ("gzip",)


@pytest.mark.parametrize("coding", CODINGS)
def test_an_archive_has_its_text_and_its_size(coding: str) -> None:
    entry: dict[str, Any] = har.entry(call(coding), PLAIN, PLAIN)
    content = entry["response"]["content"]
    assert (content["text"], content["size"]) == (PLAIN.decode(), len(PLAIN))
    assert content["compression"] == len(PLAIN) - 44
    assert "encoding" not in content
    assert entry["request"]["postData"]["text"] == PLAIN.decode()
    assert "_encoding" not in entry["request"]["postData"]


@pytest.mark.parametrize("coding", CODINGS)
def test_its_words_are_found(coding: str) -> None:
    assert all("findme" in line for line in indexed(call(coding), PLAIN, PLAIN).bodies)
    assert len(indexed(call(coding), None, None).bodies) == 2


def test_what_is_sent_again_names_no_coding_that_is_not_there() -> None:
    command = shlex.split(snippet.curl(call(), PLAIN).replace("\\\n", ""))
    assert PLAIN.decode() in command
    assert not [word for word in command if word.lower().startswith("content-encoding")]
    assert "Content-Encoding" not in snippet.python(call(), PLAIN)
    headers = [[name, value] for name, value in as_kept(CODED, Body(decoded=True))]
    assert b"gzip" not in dict(headers_to_send(headers, "h", PLAIN, "POST")).values()
