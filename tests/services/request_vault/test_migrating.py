"""A vault of format 1 becomes one of today's when it is opened: the same log, proved."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.errors import CannotOpen, Unavailable
from schemas.request_vault import NO_STREAM
from services.request_vault.store import open_archive, open_store
from services.request_vault.store.errors import VaultDamaged, VaultSpace, VaultVersion
from services.request_vault.store.sqlite import migrating, schema
from tests.conformance.vault.proofs import problems
from tests.services.request_vault import golden
from tests.services.request_vault.samples import captured, decision

OLD = golden.content(1)


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    (tmp_path / "vault.db").write_bytes(OLD)
    return tmp_path


async def use(folder: Path) -> None:
    async with open_store("sqlite:", folder, SystemClock(), partitions=1, readers=1) as store:
        await golden.check(store)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "text" not in path.name}


async def test_the_log_is_the_same_and_can_be_proved(vault: Path) -> None:
    await use(vault)
    assert schema.format_of(vault / "vault.db") == schema.FORMAT
    assert (vault / "vault.db.v1").read_bytes() == OLD
    await use(vault)
    assert names(vault) == {"vault.db", "vault.db.v1", "vault.db.lock"}
    async with open_store("sqlite:", vault, SystemClock(), partitions=1, readers=1) as store:
        assert (await store.record([captured("call-9")])).recorded == 1
        appended = await store.append("shop.thing-c", NO_STREAM, [decision("c1")])
        assert appended.positions == ((0, 4),)
        assert await problems(store) == []


async def test_what_was_not_in_the_file_yet_comes_along(vault: Path) -> None:
    """A vault that was killed: its last records stand in the write-ahead log."""
    path = vault / "vault.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA wal_autocheckpoint=0")
        old.execute("UPDATE checkpoint SET number = 3")
        files = {name: (vault / name).read_bytes() for name in ("vault.db", "vault.db-wal")}
    for name, content in files.items():
        (vault / name).write_bytes(content)
    assert path.read_bytes() == OLD
    async with open_store("sqlite:", vault, SystemClock(), partitions=1, readers=1) as store:
        assert store.published_to() == 3


async def test_what_a_crash_has_left_is_begun_anew(vault: Path) -> None:
    for suffix in (".migrating", ".migrating-wal", ".migrating-shm"):
        (vault / f"vault.db{suffix}").write_bytes(b"half a file")
    await use(vault)
    assert names(vault) == {"vault.db", "vault.db.v1", "vault.db.lock"}


@pytest.mark.parametrize("point", ["_rewrite", "_keep", "sync"])
async def test_a_crash_at_any_point_leaves_a_whole_vault(
    vault: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def crash(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    real = getattr(migrating, point)
    with monkeypatch.context() as patch:
        patch.setattr(migrating, point, crash)
        with pytest.raises(KeyboardInterrupt):
            migrating.migrate(vault / "vault.db")
    assert (vault / "vault.db").read_bytes() == OLD
    await use(vault)
    kept = [path for path in vault.iterdir() if path.name.startswith("vault.db.v1")]
    assert [path.read_bytes() for path in kept] == [OLD]


async def test_a_file_system_without_links_gets_a_copy(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    await use(vault)
    assert (vault / "vault.db.v1").read_bytes() == OLD


async def test_another_old_file_is_not_overwritten(vault: Path) -> None:
    (vault / "vault.db.v1").write_bytes(b"kept from before")
    await use(vault)
    assert (vault / "vault.db.v1").read_bytes() == b"kept from before"
    assert (vault / "vault.db.v1.1").read_bytes() == OLD


async def test_a_disk_without_room_is_said_and_nothing_is_changed(
    vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(vault)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(VaultSpace, match="format 2; that takes up to 0 MB beside it"):
        await use(vault)
    assert (vault / "vault.db").read_bytes() == OLD
    assert names(vault) == {"vault.db", "vault.db.lock"}


async def test_a_damaged_record_is_named_and_nothing_is_changed(vault: Path) -> None:
    at = OLD.index(b"shop.order.placed", OLD.index(b"order-1"))
    damaged = OLD[:at] + b"Shop" + OLD[at + 4 :]
    (vault / "vault.db").write_bytes(damaged)
    with pytest.raises((VaultDamaged, Unavailable), match=r"record at \(1, 2\)|damaged|malformed"):
        await use(vault)
    assert (vault / "vault.db").read_bytes() == damaged
    assert names(vault) == {"vault.db", "vault.db.lock"}


async def test_a_tool_does_not_rewrite_it(vault: Path) -> None:
    with pytest.raises(CannotOpen, match="when the vault is started") as caught:
        async with open_archive("sqlite:", vault):
            pass
    assert isinstance(caught.value, VaultVersion)
    assert (vault / "vault.db").read_bytes() == OLD
