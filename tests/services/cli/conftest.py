"""The fake API, in a data folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.cli.a_fake_api import FakeApi, a_fake_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with a_fake_api(tmp_path) as found:
        yield found
