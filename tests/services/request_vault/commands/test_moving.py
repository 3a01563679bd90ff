"""From SQLite to PostgreSQL and back: the same log, at the same positions, by export and by backup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.request_vault.domain.recording import to_us
from services.request_vault.store import open_archive
from tests.services.request_vault.commands.a_vault import CALLS, AVault, beside, filled
from tests.services.request_vault.samples import START
from tests.services.request_vault.vault_schemas import vault_urls

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """An empty place in the server for a vault."""
    with vault_urls(postgres_url) as fresh:
        yield next(fresh)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> AVault:
    """On SQLite; only read."""
    return filled(tmp_path_factory.mktemp("moving") / "data")


def test_there_and_back_by_export(vault: AVault, url: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    told = vault.ok("export", str(first))
    there = AVault(tmp_path / "there")
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) * 2 // 3])
    there.refused("import", str(first), slug="export-torn", TRUNKLINE_VAULT_URL=url)
    first.write_bytes(whole)
    assert there.ok("import", str(first), TRUNKLINE_VAULT_URL=url)["events"] == told["events"]
    assert there.ok("import", str(first), TRUNKLINE_VAULT_URL=url)["new"] == 0
    proved = there.ok("verify", TRUNKLINE_VAULT_URL=url)
    assert (proved["events"], proved["bodies"]) == (told["events"], CALLS - 2)
    held = there.ok("stats", TRUNKLINE_VAULT_URL=url)
    assert (held["engine"], held["calls"], held["published_to"]) == ("postgresql", CALLS - 2, 2)
    assert held["text_behind"] == CALLS - 2, "calls, whatever else was recorded"
    there.ok("export", str(second), TRUNKLINE_VAULT_URL=url)
    lines = [file.read_bytes().splitlines() for file in (first, second)]
    assert lines[0][1:] == lines[1][1:], "but for the engine's name, nothing is another"
    back = AVault(tmp_path / "back")
    back.ok("import", str(second))
    assert back.contents() == vault.contents()
    assert back.ok("verify")["sound"]


def test_there_and_back_by_backup(vault: AVault, url: str, tmp_path: Path) -> None:
    vault.ok("backup", str(tmp_path / "first"))
    there = AVault(tmp_path / "there")
    there.ok("restore", str(tmp_path / "first"), "--to", url)
    assert there.ok("verify", TRUNKLINE_VAULT_URL=url)["bodies"] == CALLS - 2
    there.refused("restore", str(tmp_path / "first"), "--to", url, slug="vault-not-empty")
    assert there.ok("backup", str(tmp_path / "second"), TRUNKLINE_VAULT_URL=url)["engine"] == "postgresql"
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == [
        "bodies", "manifest.json", "vault.db"
    ]  # fmt: skip
    back = AVault(tmp_path / "back")
    back.ok("restore", str(tmp_path / "second"))
    assert back.contents() == vault.contents()
    assert back.ok("stats")["published_to"] == 2


def test_what_was_forgotten_is_refused_wherever_the_log_moves(url: str, tmp_path: Path) -> None:
    vault = filled(tmp_path / "data")
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    floor_us = beside(forgotten(vault))
    vault.ok("export", str(first))
    vault.ok("backup", str(tmp_path / "backup"))
    there = AVault(tmp_path / "there")
    there.ok("import", str(first), TRUNKLINE_VAULT_URL=url)
    there.ok("backup", str(tmp_path / "again"), TRUNKLINE_VAULT_URL=url)
    there.ok("export", str(second), TRUNKLINE_VAULT_URL=url)
    for name, verb in ((second, "import"), (tmp_path / "backup", "restore"), (tmp_path / "again", "restore")):
        back = AVault(tmp_path / f"back from {name.name}")
        back.ok(verb, str(name))
        assert back.ok("verify")["sound"]
        assert beside(floor_of(back)) == floor_us


async def forgotten(vault: AVault) -> int:
    """What was trimmed is; up to when."""
    async with vault.opened() as store:
        assert await store.forget(to_us(START) + 10_000 * 86_400 * 1_000_000, 10_000) > 0
        floor_us: int = await store.floor_us()
        assert floor_us > 0
        return floor_us


async def floor_of(vault: AVault) -> int:
    async with open_archive("sqlite:", vault.folder) as archive:
        return await archive.floor_us()


def test_a_database_that_holds_no_vault(url: str, tmp_path: Path) -> None:
    there = AVault(tmp_path / "there")
    for verb in ("verify", "stats"):
        there.refused(verb, slug="vault-missing", TRUNKLINE_VAULT_URL=url)
