"""The tree of errors: every class is explained, and the tree in the docstring is the tree in the code."""

from __future__ import annotations

import bus
import bus.parking
from bus import errors
from bus.errors import BusError


def tree(error: type[BusError]) -> list[type[BusError]]:
    return [error, *(each for child in error.__subclasses__() for each in tree(child))]


def test_every_error_has_a_slug_of_its_own_a_meaning_a_remedy_and_an_exit_code() -> None:
    found = [error for error in tree(BusError) if error.__module__.startswith("bus.")]
    assert len({error.slug for error in found}) == len(found)
    for error in found:
        assert {"slug", "meaning", "remedy"} <= set(vars(error)), error
        assert error.meaning.endswith(".")
        assert error.remedy.endswith(".")
        assert 64 <= error.exit_code <= 78


def test_the_docstring_names_every_error_of_the_module() -> None:
    assert errors.__doc__ is not None
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, BusError):
            assert name in errors.__doc__


def test_retry_and_refused_carry_what_was_said() -> None:
    assert bus.Retry("later", after_s=5).after_s == 5
    assert bus.Retry().after_s is None
    refused = bus.Refused("no-such-item", "there is no tea")
    assert (refused.reason, refused.detail, str(refused)) == (
        "no-such-item",
        "there is no tea",
        "there is no tea",
    )
