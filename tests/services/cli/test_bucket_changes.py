"""`buckets` and its verbs: what they send, and what they say."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest

from services.cli import bucket_settings, exits
from tests.services.cli.a_fake_api import BUCKET, TOKEN, Asked, FakeApi, Problem

KEY = "abcdefghijk1"
PATH = f"/v1/buckets/{KEY}"
THERE: dict[str, Any] = {
    "key": KEY, "name": "orders", "team": "default", "created_at": "2026-01-31T12:00:00Z", "address": KEY,
    "former_addresses": [], "guarded": False, "version": 3, "capture": "relaxed", "body_cap_bytes": 1048576,
    "retention": {"max_age_s": 60, "max_calls": None, "max_bytes": None}, "sampling": 1.0,
    "redaction": {"mode": "default", "headers": ["x-a"], "paths": [], "patterns": []}, "verify_tls": True,
    "allowed_hosts": [], "denied_hosts": [], "rewrite_location": False, "notes": "",
}  # fmt: skip


def test_the_list_goes_over_all_pages(api: FakeApi) -> None:
    def page(asked: Asked) -> Any:
        if asked.query.get("cursor") == "c1":
            return {"buckets": [THERE | {"address": "elsewhere001"}], "next_cursor": None}
        return {"buckets": [THERE | {"key": BUCKET, "address": BUCKET}], "next_cursor": "c1"}

    api.answers["GET /v1/buckets"] = page
    assert [bucket["key"] for bucket in api.run("buckets", "--json").json["buckets"]] == [BUCKET, KEY]
    told = api.run("buckets").out
    assert "*  7xzcnsgbwox2" in told
    assert "elsewhere001" in told


def test_one_is_shown_with_every_setting(api: FakeApi) -> None:
    api.answers[f"GET {PATH}"] = THERE | {
        "guarded": True,
        "address": "elsewhere001",
        "former_addresses": [{"address": KEY, "ends_at": "2026-02-01T12:00:00Z"}],
    }
    told = " ".join(api.run("buckets", KEY).out.split())
    for part in (
        "orders",
        "retention.max_age_s 60",
        "redaction.headers x-a",
        "guarded",
        "elsewhere001",
        "version 3",
    ):
        assert part in told
    assert api.run("buckets", KEY, "--json").json["name"] == "orders"


def test_create_chooses_a_key(api: FakeApi) -> None:
    with mock.patch("services.cli.settling.new_key", return_value=KEY):
        api.answers[f"PUT {PATH}"] = lambda asked: THERE | asked.body
        done = api.run("buckets", "create", "new one", "capture=strict", "redaction.mode=raw")
    assert done.code == exits.OK
    assert f"Bucket {KEY} is there: new one" in done.out
    (put,) = api.asked
    assert put.body == {"name": "new one", "capture": "strict", "redaction": {"mode": "raw"}}
    assert put.headers["Authorization"] == f"Bearer {TOKEN}"


def test_create_changes_no_bucket_that_is_there(api: FakeApi) -> None:
    api.answers[f"GET {PATH}"] = THERE
    done = api.run("buckets", "create", "other", "--key", KEY, "--json")
    assert (done.code, done.error["slug"]) == (exits.INVALID, "bucket-exists")
    assert not api.changes


def test_create_with_a_key_that_is_free(api: FakeApi) -> None:
    api.answers[f"PUT {PATH}"] = lambda asked: THERE | asked.body
    assert api.run("buckets", "create", "other", "--key", KEY, "--json").json["name"] == "other"
    assert api.run("buckets", "create", "other", "name=else").code == exits.USAGE


def test_set_sends_what_is_given_only(api: FakeApi) -> None:
    api.answers[f"PATCH {PATH}"] = lambda asked: THERE | asked.body
    done = api.run("buckets", "set", KEY, "capture=off", "allowed_hosts=a.example,b.example")
    assert done.code == exits.OK
    (patch,) = api.asked
    assert patch.body == {"capture": "off", "allowed_hosts": ["a.example", "b.example"]}
    assert "If-Match" not in patch.headers


def test_set_of_what_stands_together_keeps_the_rest_unless_somebody_else_changed_it(api: FakeApi) -> None:
    api.answers |= {f"GET {PATH}": THERE, f"PATCH {PATH}": lambda asked: THERE | asked.body}
    assert api.run("buckets", "set", KEY, "redaction.mode=strict").code == exits.OK
    (patch,) = api.changes
    assert patch.body == {"redaction": THERE["redaction"] | {"mode": "strict"}}
    assert patch.headers["If-Match"] == '"v3"'
    api.answers[f"PATCH {PATH}"] = Problem(412, "bucket-conflict")
    done = api.run("buckets", "set", KEY, "redaction.mode=strict")
    assert (done.code, "changed it since" in done.err) == (exits.INVALID, True)


def test_set_for_one_version(api: FakeApi) -> None:
    api.answers[f"PATCH {PATH}"] = THERE
    api.run("buckets", "set", KEY, "notes=x", "--if-version", "2")
    assert api.asked[0].headers["If-Match"] == '"v2"'


@pytest.mark.parametrize("settings", [[], ["captur=off"], ["sampling=half"]])
def test_set_asks_nothing_when_a_setting_is_wrong(api: FakeApi, settings: list[str]) -> None:
    done = api.run("buckets", "set", KEY, *settings)
    assert (done.code, api.asked) == (exits.USAGE, [])
    assert "capture" in api.run("buckets", "set", KEY, *settings[:0]).err


def test_rotate(api: FakeApi) -> None:
    former = [{"address": KEY, "ends_at": "2026-02-01T12:00:00Z"}]
    api.answers[f"POST {PATH}/address"] = THERE | {"address": "elsewhere001", "former_addresses": former}
    told = api.run("buckets", "rotate", KEY, "--overlap", "1d").out
    assert "elsewhere001" in told
    assert "2026-02-01T12:00:00Z" in told
    assert api.asked[0].body == {"overlap_s": 86400}
    api.run("buckets", "rotate", KEY)
    assert api.asked[1].body == {}
    assert api.run("buckets", "rotate", KEY, "--overlap", "long").code == exits.USAGE


def test_guard_and_unguard(api: FakeApi) -> None:
    api.answers |= {
        f"POST {PATH}/auth-token": {"key": KEY, "secret": "tlb_x"},
        f"DELETE {PATH}/auth-token": THERE,
    }
    assert "Trunkline-Bucket-Auth: tlb_x" in api.run("buckets", "guard", KEY).out
    assert api.run("buckets", "guard", KEY, "--json").json["secret"] == "tlb_x"
    assert "lets in all clients" in api.run("buckets", "unguard", KEY).out


def test_delete_says_what_goes_and_needs_yes(api: FakeApi) -> None:
    api.answers |= {f"GET {PATH}": THERE, f"DELETE {PATH}": THERE}
    done = api.run("buckets", "delete", KEY)
    assert (done.code, "orders" in done.err, "erased" in done.err) == (exits.USAGE, True, True)
    assert "--yes" in done.err
    assert not api.changes
    assert "is deleted" in api.run("buckets", "delete", KEY, "--yes").out
    assert api.run("buckets", "delete", KEY, "--yes", "--json").json["key"] == KEY


@pytest.mark.parametrize(("answer", "code"), [("y\n", exits.OK), ("\n", exits.NO), ("", exits.NO)])
def test_delete_asks_at_a_terminal(api: FakeApi, answer: str, code: int) -> None:
    api.answers |= {f"GET {PATH}": THERE, f"DELETE {PATH}": THERE}
    done = api.run("buckets", "delete", KEY, stdin=answer, at_terminal=True)
    assert (done.code, "Go on? [y/N]" in done.err) == (code, True)
    assert len(api.changes) == (code == exits.OK)


def test_what_does_not_exist_is_answered_as_the_api_says(api: FakeApi) -> None:
    for verb in (
        ["set", KEY, "notes=x"],
        ["rotate", KEY],
        ["guard", KEY],
        ["unguard", KEY],
        ["delete", KEY, "--yes"],
    ):
        done = api.run("buckets", *verb, "--json")
        assert (done.code, json.loads(done.err)["error"]["slug"]) == (exits.NOT_THERE, "not-found")


def test_a_url_is_called_through_the_address(api: FakeApi) -> None:
    target = "https://api.example.com/x"
    assert api.run("url", target).out.strip() == f"http://gw.example/{BUCKET}/{target}"
    api.answers[f"GET /v1/buckets/{BUCKET}"] = THERE | {"key": BUCKET, "address": "elsewhere001"}
    assert api.run("url", target).out.strip() == f"http://gw.example/elsewhere001/{target}"


def test_the_help_names_every_setting(api: FakeApi) -> None:
    for verb in ("create", "set"):
        told = "".join(api.run("buckets", verb, "--help").out.replace("│", " ").split())
        for name in bucket_settings.known():
            assert name in told
