"""The catalogue: every service and every contract is there, whole."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

import schemas
import services
from bus import topics
from services import catalog


def test_every_contract_is_listed() -> None:
    written = {module.name for module in pkgutil.iter_modules(schemas.__path__)} - {"operation"}
    assert set(catalog.CONTRACTS) == written


def test_every_room_is_listed() -> None:
    found = {path.parent.name for path in Path(next(iter(services.__path__))).glob("*/service.py")}
    assert set(catalog.SERVICES) == found


@pytest.mark.parametrize("name", catalog.SERVICES)
def test_a_room_loads(name: str) -> None:
    room = catalog.load(name)
    assert callable(room.build)
    assert room.config() == room.config(), "every setting has a default"
    assert room.contract.__name__ == f"schemas.{name}"
    assert room.purpose


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(catalog.ServiceUnknown, match=r"'courrier'.*traffic_gateway, request_vault"):
        catalog.load("courrier")


def test_subscriptions_have_names_of_their_own_and_valid_patterns() -> None:
    subscriptions = catalog.contracts().subscriptions
    names = [subscription.name for subscription in subscriptions]
    assert len(names) == len(set(names))
    for subscription in subscriptions:
        for pattern in subscription.patterns:
            topics.check_pattern(pattern)


def test_one_subscription_at_most_pushes_back() -> None:
    pushing = [each.name for each in catalog.contracts().subscriptions if each.pushes_back]
    assert pushing == ["request_vault"]


def test_facts_and_operations_have_types_of_their_own() -> None:
    found = catalog.contracts()
    types = [fact.TYPE for fact in found.facts]
    assert len(types) == len(set(types))
    routes = [(operation.method, operation.path) for operation in found.operations]
    assert len(routes) == len(set(routes))
    for operation in found.operations:
        topics.check_type(operation.ask.TYPE)


def test_rooms_bring_verbs_along() -> None:
    found = {verb.name: verb for verb in catalog.commands()}
    assert "vault" in found
    for verb in found.values():
        made = verb.make(lambda data_dir: pytest.fail("settings are read when a verb is called"))
        assert made.help == verb.purpose
