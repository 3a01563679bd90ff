"""Who may do what, for every operation of every contract: one that is added is tested by being there.

What a caller may not do is tried on a whole installation, which has to be as it was afterwards. What it may
is tried up to the ask, so that nothing has to be made and unmade for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import aiohttp
import msgspec
import pytest

from bus.errors import Refused
from bus.message import Ask
from schemas.operation import NEEDS_NO_GRANT, ROLE_SCOPES, SCOPES, Operation, Role, Scope
from services.api.domain.binding import Binding
from services.api.service import contracts
from tests.services.api.installed import CALL, FOREIGN, FOREIGN_CALL, OURS, Installed, installed
from tests.services.api.standing import Standing, caller, standing

OPERATIONS = [operation for listed in contracts().values() for operation in listed]
ROLES: tuple[Role, ...] = get_args(Role)
BUCKET_FIELDS = ("bucket", "key")
NO_BUCKET: dict[str, str] = {
    "GetBucket": "identity answers for the past too, which the edge does not know; it checks team and keys",
    "ReadEvents": "`key` is a filter; `visible_keys` says what may be seen",
}
"""Asks with a field that names a bucket, whose operation does not: and why that is safe."""
OPEN: dict[str, str] = {
    "OpenSession": "who signs in has no token yet; the password is what is checked",
    "AcceptInvitation": "who is invited has no token yet; the code is what is checked",
}
"""Public operations, each with its reason."""
THEIRS = {
    "team": "them",
    "bucket": FOREIGN,
    "key": FOREIGN,
    "id": FOREIGN_CALL,
    "email": "somebody@example.com",
}
MINE = {"team": "default", "bucket": OURS, "key": OURS, "id": CALL, "email": "somebody@example.com"}


def named(operation: Operation) -> str:
    return operation.ask.__name__


def path_of(operation: Operation, places: dict[str, str]) -> str:
    places = dict(places)
    if operation.path.startswith("/teams"):
        places["id"] = places["team"]
    return "/v1" + re.sub(r"{(\w+)}", lambda found: places[found[1]], operation.path)


def body_of(operation: Operation) -> dict[str, Any] | None:
    """The least that binds."""
    binding = Binding(operation)
    if binding.from_query:
        return None
    return {name: least(field.type) for name, field in binding.inputs.items() if field.required}


def least(kind: Any) -> Any:
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.StrType() | msgspec.inspect.Metadata():
            return "somebody@example.com"
        case msgspec.inspect.IntType():
            return 1
        case msgspec.inspect.LiteralType(values=values):
            return values[0]
        case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StrType()):
            return ["calls:read"]
        case other:
            raise NotImplementedError(f"say here what the least is for {other}")


async def asked(
    client: aiohttp.ClientSession, operation: Operation, places: dict[str, str], headers: dict[str, str]
) -> tuple[int, str, str]:
    """Status, slug and detail."""
    path = path_of(operation, places)
    async with client.request(
        operation.method, path, json=body_of(operation), headers=headers, skip_auto_headers=()
    ) as answer:
        said = json.loads(await answer.text() or "{}")
        return answer.status, str(said.get("type", "")).rpartition(":")[2], str(said.get("detail", ""))


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_every_operation_names_a_scope_that_there_is(operation: Operation) -> None:
    assert operation.scope in SCOPES | NEEDS_NO_GRANT
    if operation.scope == "public":
        assert named(operation) in OPEN, "a public operation needs a reason"
        trusted = {"team", "actor_scopes", "visible_keys", "allowed_buckets"}
        assert not trusted.intersection(operation.ask.__struct_fields__), "empty means everybody's"


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_every_operation_with_a_bucket_names_it(operation: Operation) -> None:
    fields = [name for name in BUCKET_FIELDS if name in operation.ask.__struct_fields__]
    if operation.bucket is None and fields:
        assert named(operation) in NO_BUCKET, f"it has {fields[0]!r}: name it as `bucket`, or say why not"
        filled = {"allowed_buckets", "visible_keys"}.intersection(operation.ask.__struct_fields__)
        assert filled, "whoever answers could not tell whose bucket may be seen"


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_every_operation_of_a_team_is_told_whose(operation: Operation) -> None:
    """What has neither a bucket that the edge checks nor the caller's team could be anybody's."""
    told = {"team", "visible_keys", "session"}.intersection(operation.ask.__struct_fields__)
    open_to_all = operation.scope in ("public", "installation", "status:read")
    assert operation.bucket is not None or told or open_to_all


class Recording:
    """Takes the place of the bus: what got so far was allowed."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def ask(self, ask: Ask[Any], *, timeout_s: float = 5.0) -> Any:
        self.reached.append(type(ask).__name__)
        raise Refused("thing-gone", "far enough")


@pytest.fixture
async def edge() -> Any:
    recording = Recording()
    async with standing(asks=recording) as api:
        api.doors.grants |= {
            f"tl_{role}": caller(role, scopes=tuple(sorted(ROLE_SCOPES[role]))) for role in ROLES
        }
        api.doors.grants |= {
            "tl_team": caller("team", team="them"),
            "tl_operator": caller("operator", scopes=tuple(sorted(SCOPES))),
        }
        yield api, recording


def expected(scope: Scope, name: str) -> bool:
    granted = SCOPES if name == "operator" else ROLE_SCOPES.get(name, ROLE_SCOPES["owner"])  # type: ignore[call-overload]
    return scope in NEEDS_NO_GRANT or scope in granted


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_each_role_may_do_what_its_scopes_say(
    edge: tuple[Standing, Recording], operation: Operation
) -> None:
    api, recording = edge
    for name in (*ROLES, "operator"):
        recording.reached.clear()
        headers = {"Authorization": f"Bearer tl_{name}"}
        status, slug, _ = await asked(api.client, operation, MINE, headers)
        if expected(operation.scope, name):
            assert (status, recording.reached) == (410, [named(operation)]), (name, slug)
        else:
            assert (status, slug, recording.reached) == (403, "scope-missing", []), name


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_without_a_token_nothing_is_asked_but_what_is_public(
    edge: tuple[Standing, Recording], operation: Operation
) -> None:
    api, recording = edge
    for headers in ({}, {"Authorization": "Bearer tl_unknown"}):
        recording.reached.clear()
        async with aiohttp.ClientSession(api.client._base_url) as nobody:
            status, slug, _ = await asked(nobody, operation, MINE, headers)
        if operation.scope == "public":
            assert (status, recording.reached) == (410, [named(operation)])
        else:
            assert (status, recording.reached) == (401, [])
            assert slug == ("token-refused" if headers else "token-missing")


def foreign() -> Iterator[Operation]:
    """The operations whose path names something."""
    for operation in OPERATIONS:
        if "{" in operation.path and operation.scope != "installation":
            yield operation


@pytest.fixture
async def whole(tmp_path: Path) -> Any:
    async with installed(tmp_path) as api:
        yield api


async def test_what_belongs_to_others_is_not_there(whole: Installed) -> None:
    """Other teams' things, and those outside a limited token's buckets, answer as what never existed does."""
    nothing = dict.fromkeys(MINE, "nothing") | {"bucket": "nothing00001", "key": "nothing00001"}
    names = {*THEIRS.values(), *MINE.values(), *nothing.values()}
    before = await state_of(whole)
    for operation in foreign():
        if operation.method == "PUT" and operation.bucket is not None and operation.path.endswith("}"):
            continue  # naming a new bucket makes it: see test_operations
        for name, theirs in (("owner", THEIRS), ("limited", THEIRS), ("foreign", MINE)):
            headers = whole.headers(name)
            status, slug, detail = await asked(whole.client, operation, theirs, headers)
            assert status == 404, (named(operation), name, status, slug, detail)
            missing = await asked(whole.client, operation, nothing, headers)
            assert missing[:2] == (status, slug), named(operation)
            assert worded(detail, names) == worded(missing[2], names)
    assert await state_of(whole) == before


async def test_a_call_by_its_id_is_shown_to_its_team_only(whole: Installed) -> None:
    for name, id, status in (
        ("owner", CALL, 200),
        ("limited", CALL, 200),
        ("owner", FOREIGN_CALL, 404),
        ("foreign", CALL, 404),
        ("foreign", FOREIGN_CALL, 200),
    ):
        async with whole.client.get(f"/v1/calls/{id}", headers=whole.headers(name)) as answer:
            assert answer.status == status, (name, id)
        async with whole.client.get(f"/v1/calls/{id}?raw=response", headers=whole.headers(name)) as answer:
            assert answer.status == status, (name, id)
    for route in ("live", "calls.har"):
        path = f"/v1/buckets/{OURS}/{route}"
        async with whole.client.get(path, headers=whole.headers("foreign")) as answer:
            assert answer.status == 404


def worded(detail: str, names: set[str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        detail = detail.replace(name, "…")
    return detail


async def state_of(api: Installed) -> Any:
    """What is there, as the operator sees it."""
    seen = []
    for name in ("operator", "foreign"):
        for path in ("/v1/teams", "/v1/buckets", "/v1/tokens"):
            async with api.client.get(path, headers=api.headers(name)) as answer:
                assert answer.status == 200
                document = await answer.json()
        for token in document.get("tokens", ()):
            token.pop("last_used_at", None)
        seen.append(document)
    return seen
