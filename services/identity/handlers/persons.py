"""Who has an e-mail address: the same person in every team."""

from __future__ import annotations

from bus.ids import derived
from services.identity.domain.addresses import folded


def person_of(address: str) -> str:
    """The person's id. address: as `address_from` writes it."""
    return derived("person", folded(address))
