"""The read models beside the log: `calls`, and `events` by type, key, subject and correlation.

Each model is a set of tables of one generation (`call_1`); `model` says which generation answers, `build`
which one is being built beside it. What a model holds comes from records only, so that it can be built anew:
the records' own columns, and what decisions about calls changed, in their order.
"""

from __future__ import annotations

from services.request_vault.store.sqlite.models.definitions import PROTECTED, VERSIONS
from services.request_vault.store.sqlite.models.generations import Build, Generations, create_all, load
from services.request_vault.store.sqlite.models.removing import remove_rows, unnamed
from services.request_vault.store.sqlite.models.writing import NewRows

__all__ = [
    "PROTECTED",
    "VERSIONS",
    "Build",
    "Generations",
    "NewRows",
    "create_all",
    "load",
    "remove_rows",
    "unnamed",
]
