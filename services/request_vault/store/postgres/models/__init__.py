"""The read models beside the log: `calls`, and `events` by type, key, subject and correlation.

Each model is a set of tables of one generation (`call_1`); `model` says which generation answers. What a
model holds comes from records only, so that it can be built anew.
"""

from __future__ import annotations

from services.request_vault.store.postgres.models.definitions import VERSIONS
from services.request_vault.store.postgres.models.generations import Generations, create_all, load
from services.request_vault.store.postgres.models.writing import NewRows

__all__ = ["VERSIONS", "Generations", "NewRows", "create_all", "load"]
