"""Passwords: which are taken, how they are kept, and how often one may be tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest

from bus.errors import Refused, Unavailable
from schemas.identity import (
    AcceptInvitation,
    CloseSession,
    GetCaller,
    ListMembers,
    OpenSession,
    PasswordSet,
    PersonInvited,
)
from services.chassis.limits import Rate, Taken
from services.identity.domain.addresses import address_from
from services.identity.domain.passwords import normalized
from services.identity.domain.refusing import No
from services.identity.handlers.attempts import PERSON_RATE, network_of
from services.identity.handlers.hashing import AT_ONCE as HASHED_AT_ONCE
from services.identity.handlers.hashing import Hashing
from tests.services.identity.people import ANN, GOOD, OTHER, People
from tests.services.identity.place import Place


@pytest.fixture
def people(place: Place) -> People:
    return People(place)


async def test_whoever_signs_in_keeps_nobody_else_waiting(
    place: Place, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than are hashed at once; meanwhile who is signed in is told so, and signs out."""
    hashed = asyncio.Event()
    really = Hashing.is_of

    async def is_of(self: Hashing, person: str, sealed: str, password: str) -> bool:
        await hashed.wait()
        return await really(self, person, sealed, password)

    async with place.identity(), asyncio.TaskGroup() as tasks:
        await people.team("shop", (ANN, "editor"))
        session = await people.joined("shop")
        person = (await place.bus.ask(ListMembers("shop"))).members[0].person
        monkeypatch.setattr(Hashing, "is_of", is_of)
        waiting = [tasks.create_task(place.bus.ask(people.sign_in(GOOD))) for _ in range(HASHED_AT_ONCE * 2)]
        caller = await place.bus.ask(GetCaller(person, session.id, "shop"))
        assert caller.email == ANN
        await place.bus.ask(CloseSession("out", person, session.id))
        assert not any(task.done() for task in waiting)
        hashed.set()


async def test_an_unknown_address_and_a_wrong_password_are_told_alike(
    place: Place, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bool] = []
    verify = Hashing._verified

    def counted(self: Hashing, hash: str, password: str) -> bool:
        verified.append(verify(self, hash, password))
        return verified[-1]

    monkeypatch.setattr(Hashing, "_verified", counted)
    async with place.identity():
        await people.team("shop", (ANN, "editor"), ("bob@example.com", "viewer"))
        await people.team("rivals")
        await people.joined("shop")
        answers = set()
        for ask in (
            people.sign_in(OTHER),
            people.sign_in(GOOD, "nobody@example.com"),
            people.sign_in(GOOD, "bob@example.com"),  # has no password yet
            people.sign_in(GOOD, team="rivals"),
            people.sign_in(GOOD, team="nothing"),
            people.sign_in(GOOD, "no address"),
        ):
            with pytest.raises(Refused) as caught:
                await place.bus.ask(ask)
            answers.add((caught.value.reason, caught.value.detail))
        assert [reason for reason, _ in answers] == ["session-unauthorized"]
        assert verified == [False, False, False, True, True], "each costs a whole hash"


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 257, ANN, "ANN@example.com", "password1234", "P@ssw0rd2024!", "123456789012",
     "aaaaaaaaaaaa", "abcabcabcabc", "qwertyuiop12", " " * 20],
)  # fmt: skip
async def test_passwords_that_are_not_taken(place: Place, people: People, password: str) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        code = await people.invite("shop")
        assert await people.refused(people.accept(code, password)) == "password-invalid"
        recorded = len(place.log.records)
        await place.bus.ask(people.accept(code, GOOD))
        assert len(place.log.records) == recorded + 2, "a refused one does not use the invitation up"


async def test_a_password_is_the_same_however_it_is_composed(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        await people.joined("shop", password="caf\u00e9 am hafen")
        await place.bus.ask(people.sign_in("cafe\u0301 am hafen"))


@pytest.mark.parametrize("read", [normalized, address_from])
def test_what_is_too_long_is_not_composed(
    read: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of marks takes minutes, in which nobody else is answered."""
    marks = "a" + "\u0301" * 2_000 + "\u0323" * 2_000

    composed: list[str] = []

    def normalize(form: str, text: str) -> str:
        composed.append(text)
        return text

    with monkeypatch.context() as patched, suppress(No):
        patched.setattr("unicodedata.normalize", normalize)
        assert read(marks) == marks
    assert composed == []


async def test_attempts_are_limited_for_a_person_and_then_let_in_again(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        await people.joined("shop")
        for _ in range(PERSON_RATE.burst - 1):
            assert await people.refused(people.sign_in("wrong")) == "session-unauthorized"
        with pytest.raises(Refused, match="30 s") as caught:
            await place.bus.ask(people.sign_in(GOOD))
        assert caught.value.reason == "session-limited"
        assert await people.refused(people.sign_in(GOOD, " ANN@EXAMPLE.com")) == "session-limited"
        await place.bus.clock.advance(30)
        await place.bus.ask(people.sign_in(GOOD))


async def test_attempts_are_limited_by_where_they_come_from(place: Place, people: People) -> None:
    async with place.identity():
        slugs = [await people.refused(people.sign_in(GOOD, f"{n} no address")) for n in range(41)]
        assert slugs == ["session-unauthorized"] * 40 + ["session-limited"]


def test_where_an_attempt_comes_from() -> None:
    assert network_of("192.0.2.7") == network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert len(network_of("x" * 1000)) == 64


async def test_without_the_shared_limits_this_process_counts(place: Place, people: People) -> None:
    class Away:
        async def take(self, name: str, rate: Rate, cost: int = 1) -> Taken:
            raise Unavailable("redis is away")

    place.shared = msgspec.structs.replace(place.shared, limits=Away())
    async with place.identity():
        slugs = [await people.refused(people.sign_in("wrong")) for _ in range(11)]
        assert slugs == ["session-unauthorized"] * 10 + ["session-limited"]


async def test_the_log_holds_no_secret(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        code = await people.invite("shop")
        session = await place.bus.ask(people.accept(code, GOOD))
        secret = place.secret_in(session)
        written = b"".join(recorded.event for recorded in place.log.records)
        for plain in (GOOD, code, secret, code[4:], secret[4:], "$argon2id$"):
            assert plain.encode() not in written


async def test_what_is_not_sealed_is_refused(place: Place, people: People) -> None:
    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        code = await people.invite("shop")
        for ask in (
            AcceptInvitation("c", code, GOOD),
            OpenSession("c", ANN, GOOD),
            OpenSession("c", ANN, place.shared.secrets.seal(GOOD.encode(), "identity.something.else")),
        ):
            assert await people.refused(ask) == "sealed-unreadable"


async def test_hashes_of_older_parameters_are_renewed_at_sign_in(place: Place, people: People) -> None:
    from argon2 import PasswordHasher

    async with place.identity():
        await people.team("shop", (ANN, "editor"))
        member = (await place.bus.ask(ListMembers("shop"))).members[0]
        weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(GOOD)
        sealed = place.shared.secrets.seal(weak.encode(), f"identity.password.{member.person}")
        stream = f"identity.person-{member.person}"
        moment = place.bus.clock.now()
        await place.happens(PersonInvited(member.person, ANN, "shop", "0" * 64, moment), stream)
        await place.happens(PasswordSet(member.person, sealed, team="shop"), stream)
        first = await place.bus.ask(people.sign_in(GOOD))
        assert len(place.log.records) == 6, "the session, and the new hash"
        await place.bus.ask(people.sign_in(GOOD))
        assert len(place.log.records) == 7
        await place.bus.ask(CloseSession("c", member.person, first.id))
