"""The verbs that rooms bring along: each is an attribute of this module, made when the command line asks for
it, so that no other command waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services import catalog

if TYPE_CHECKING:
    from cyclopts import App

    from services.chassis.config import Loaded


def __getattr__(name: str) -> App:
    for verb in catalog.commands():
        if verb.name == name:
            return verb.make(_load)
    raise AttributeError(name)


def _load(data_dir: Path | None) -> Loaded:
    """The installation's settings. Nothing is made on disk for them. Raises ConfigInvalid."""
    from services.chassis import config

    return config.load(catalog.config_types(), data_dir=data_dir)
