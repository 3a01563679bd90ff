"""What people say of a call, and taking calls away."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from services.cli import exits
from tests.services.cli.a_fake_api import BUCKET, FakeApi, Problem

ID = "01a2060f-898d-75b2-b6b4-4120d8631b76"
OTHER = "otherbucket1"
MARKS: dict[str, Any] = {
    "id": ID, "bucket": BUCKET, "starred": False, "note": "", "tags": [], "share": None,
    "share_expires_at": None, "deleted": False,
}  # fmt: skip


def path(bucket: str = BUCKET) -> str:
    return f"/v1/buckets/{bucket}/calls/{ID}"


@pytest.fixture(autouse=True)
def there(api: FakeApi) -> None:
    api.answers |= {
        f"GET /v1/calls/{ID}": {"id": ID, "bucket": BUCKET},
        f"GET /v1/buckets/{BUCKET}/calls": {"calls": [{"id": ID}], "next_cursor": None},
    }


@pytest.mark.parametrize(
    ("verb", "method", "below"),
    [
        ("star", "PUT", "/star"),
        ("unstar", "DELETE", "/star"),
        ("unshare", "DELETE", "/share"),
        ("delete", "DELETE", ""),
        ("undelete", "POST", "/restoration"),
    ],
)
def test_a_mark(api: FakeApi, verb: str, method: str, below: str) -> None:
    api.answers[f"{method} {path()}{below}"] = MARKS
    for id in (ID, ID[-8:], "last", f"…{ID[-8:]}"):
        done = api.run(verb, id)
        assert (done.code, ID in done.out) == (exits.OK, True)
    assert api.run(verb, ID, "--json").json == MARKS
    assert len(api.changes) == 5
    api.answers[f"{method} {path()}{below}"] = Problem(404, "call-unknown")
    assert api.run(verb, ID, "--json").error["slug"] == "call-unknown"


def test_a_whole_id_says_itself_where_the_call_is(api: FakeApi) -> None:
    api.answers |= {f"GET /v1/calls/{ID}": {"id": ID, "bucket": OTHER}, f"PUT {path(OTHER)}/star": MARKS}
    assert api.run("star", ID).code == exits.OK
    assert api.run("star", ID, "--bucket", OTHER).code == exits.OK
    assert [asked.path for asked in api.asked].count(f"/v1/calls/{ID}") == 1


def test_a_deleted_call_is_looked_for_in_the_first_bucket(api: FakeApi) -> None:
    api.answers |= {f"GET /v1/calls/{ID}": Problem(404, "call-unknown"), f"POST {path()}/restoration": MARKS}
    assert api.run("undelete", ID).code == exits.OK


def test_delete_says_how_to_take_it_back(api: FakeApi) -> None:
    api.answers[f"DELETE {path()}"] = MARKS
    assert f"trunkline undelete {ID} --bucket {BUCKET}" in api.run("delete", ID).out


def test_a_note(api: FakeApi) -> None:
    api.answers[f"PATCH {path()}"] = lambda asked: MARKS | asked.body
    assert "look here" in api.run("note", ID, "look here").out
    assert api.run("note", ID, "").code == exits.OK
    assert [asked.body for asked in api.changes] == [{"note": "look here"}, {"note": ""}]


def test_tags(api: FakeApi) -> None:
    api.answers[f"PATCH {path()}"] = MARKS | {"tags": ["slow"]}
    assert "+slow" in api.run("tag", ID, "+slow", "fast", "-b", "-h", "-new").out
    assert api.changes[0].body == {"add_tags": ["slow", "fast"], "remove_tags": ["b", "h", "new"]}
    assert api.run("tag", ID, "x", "--bucket", BUCKET, "--json").json["tags"] == ["slow"]


@pytest.mark.parametrize("tags", [[], ["+"], ["+a", "-a"], ["a", ""]])
def test_tags_that_say_nothing(api: FakeApi, tags: list[str]) -> None:
    done = api.run("tag", ID, *tags)
    assert (done.code, api.asked, "trunkline tag ID" in done.err) == (exits.USAGE, [], True)


def test_the_api_says_what_is_wrong_with_a_tag(api: FakeApi) -> None:
    api.answers[f"PATCH {path()}"] = Problem(400, "mark-invalid", "a tag has no blanks")
    done = api.run("tag", ID, "a b")
    assert (done.code, "a tag has no blanks" in done.err) == (exits.INVALID, True)


def test_share_prints_the_link_alone(api: FakeApi) -> None:
    api.answers[f"PUT {path()}/share"] = MARKS | {"share": "s123"}
    assert api.run("share", ID).out == f"{api.url}/v1/shared/s123\n"
    assert api.run("share", ID, "--json").json["url"] == f"{api.url}/v1/shared/s123"
    api.run("share", ID, "--expires", "2030-01-01T00:00Z")
    assert [asked.body for asked in api.changes] == [{}, {}, {"expires_at": "2030-01-01T00:00:00Z"}]
    assert api.run("share", ID, "--expires", "soon").code == exits.USAGE


def test_erase_needs_yes(api: FakeApi) -> None:
    done_ = {"id": "e1", "bucket": BUCKET, "kind": "call", "state": "finished", "calls": 1, "bodies": 0}
    api.answers[f"POST {path()}/erasure"] = done_
    done = api.run("erase", ID)
    assert (done.code, "--yes" in done.err, api.changes) == (exits.USAGE, True, [])
    assert "is erased" in api.run("erase", ID, "--yes", "--why", "asked for").out
    assert api.changes[0].body == {"why": "asked for"}
    assert api.run("erase", ID, "--yes", "--json").json == done_


def an_erasure(state: str, looked_at: int = 0) -> dict[str, Any]:
    return {
        "id": "e1", "bucket": BUCKET, "kind": "subject", "state": state, "calls": looked_at, "bodies": 0,
        "looked_at": looked_at, "of": 3,
    }  # fmt: skip


SUBJECT = ("erase-subject", BUCKET, "--header", "X-User", "--value=-42")


def test_erasing_a_subject_is_followed_to_its_end(api: FakeApi) -> None:
    looks = [an_erasure("running", 1), an_erasure("running", 2), an_erasure("finished", 3)]
    api.answers |= {
        f"POST /v1/buckets/{BUCKET}/erasures": an_erasure("running"),
        f"GET /v1/buckets/{BUCKET}/erasures/e1": lambda asked: looks.pop(0),
    }
    done = api.run(*SUBJECT)
    assert (done.code, "--yes" in done.err, api.asked) == (exits.USAGE, True, [])
    with mock.patch("services.cli.erasing.FIRST_LOOK_S", 0.001):
        done = api.run(*SUBJECT, "--yes")
    assert (done.code, done.out) == (exits.OK, "3 calls and 0 bodies are erased.\n")
    assert api.changes[0].body == {"value": "-42", "header": "X-User"}
    assert not looks


def test_an_erasure_that_is_not_waited_for(api: FakeApi) -> None:
    api.answers[f"POST /v1/buckets/{BUCKET}/erasures"] = an_erasure("running")
    arguments = ("erase-subject", BUCKET, "--path", "$.user.id", "--value", "42", "--yes", "--no-wait")
    assert f"/v1/buckets/{BUCKET}/erasures/e1" in api.run(*arguments).out
    assert api.run(*arguments, "--json").json["state"] == "running"
    assert {asked.method for asked in api.asked} == {"POST"}


@pytest.mark.parametrize("where", [[], ["--header", "a", "--path", "$.b"]])
def test_a_subject_stands_in_one_place(api: FakeApi, where: list[str]) -> None:
    done = api.run("erase-subject", BUCKET, "--value", "x", "--yes", *where)
    assert (done.code, "--header or --path" in done.err, api.asked) == (exits.USAGE, True, [])
