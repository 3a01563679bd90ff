"""`docs/configuration.md` says what the settings' types say."""

from __future__ import annotations

import msgspec
import pytest

from deploy import config_doc
from services import catalog
from services.chassis.config import Settings


def test_the_page_is_up_to_date() -> None:
    page = config_doc.PAGE.read_text()
    assert page == config_doc.render(page), "run `make docs`"


@pytest.mark.parametrize("config", [Settings, *catalog.config_types().values()])
def test_every_setting_is_explained(config: type[msgspec.Struct]) -> None:
    assert set(config_doc.meanings(config)) == set(config.__struct_fields__)


def test_a_docstring_is_taken_apart_at_its_fields() -> None:
    class Config(msgspec.Struct):
        """Words before. port, bind: where it listens; see also: nothing. idle_s: how long it
        waits; port_fixed: it does not move."""

        bind: str = ""
        port: int = 1
        port_fixed: bool = False
        idle_s: float = 1.0

    assert config_doc.meanings(Config) == {
        "port": "Where it listens; see also: nothing.",
        "bind": "Where it listens; see also: nothing.",
        "idle_s": "How long it waits.",
        "port_fixed": "It does not move.",
    }


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="markers"):
        config_doc.render("# Configuration\n")
