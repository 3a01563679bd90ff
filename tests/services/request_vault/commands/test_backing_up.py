"""`trunkline vault backup` and `restore`: online, whole or not at all, and never over anything."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.request_vault.commands import disk
from tests.services.request_vault.commands.a_vault import CALLS, PIECE, AVault, a_call, filled
from tests.services.request_vault.samples import BUCKET, order

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> AVault:
    """Only read."""
    return filled(tmp_path_factory.mktemp("backed-up") / "data")


@pytest.fixture(scope="module")
def made(vault: AVault, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup; only read."""
    folder = tmp_path_factory.mktemp("backups") / "one"
    vault.ok("backup", str(folder))
    return folder


@pytest.fixture
def backup(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "backup"))


def test_a_backup_says_what_it_holds(vault: AVault, made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    ends = vault.contents()[0]
    assert manifest["format"] == 1
    assert manifest["engine"] == "sqlite"
    assert [head["number"] for head in manifest["heads"]] == [end.number for end in ends]
    assert [head["chain"] for head in manifest["heads"]] == [end.chain.hex() for end in ends]
    assert (manifest["erased"], manifest["trimmed"]) == (2, 1150)
    assert (manifest["bodies"], manifest["bodies_missing"]) == (CALLS - 2, [])
    assert sorted(path.name for path in made.iterdir()) == ["bodies", "manifest.json", "vault.db"]
    assert not list(made.parent.glob(".*"))


def test_a_restored_vault_is_the_vault(vault: AVault, made: Path, tmp_path: Path) -> None:
    other = AVault(tmp_path / "other")
    told = vault.ok("restore", str(made), "--to", str(other.data_dir))
    assert told["vault"] == str(other.database)
    assert other.contents() == vault.contents()
    assert other.ok("verify")["bodies"] == CALLS - 2
    assert other.ok("stats")["buckets"] == vault.ok("stats")["buckets"]
    assert other.ok("stats")["published_to"] == 2

    async def goes_on() -> None:
        async with other.opened() as store:
            assert (await store.record([order(9999)])).recorded == 1
            assert (await store.record([order(1500, key="orders")])).repeated == 1
            assert (await store.get_call("call-1", BUCKET)).marks.starred

    asyncio.run(goes_on())


def test_nothing_is_overwritten(vault: AVault, made: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    vault.refused("backup", str(tmp_path / "there"), slug="backup-exists")
    vault.refused("backup", str(made), slug="backup-exists")
    other = filled(tmp_path / "other", orders=5, gone=False)
    before = other.contents()
    assert "holds" in other.refused("restore", str(made), slug="vault-not-empty")
    assert other.contents() == before
    assert other.ok("verify")["sound"]


def test_an_empty_vault_makes_room(vault: AVault, made: Path, tmp_path: Path) -> None:
    other = AVault(tmp_path / "other")

    async def make() -> None:
        async with other.opened():
            pass

    asyncio.run(make())
    other.ok("restore", str(made))
    assert other.contents() == vault.contents()


async def test_a_vault_that_runs_is_backed_up_and_not_restored_into(made: Path, tmp_path: Path) -> None:
    vault = await asyncio.to_thread(filled, tmp_path / "data", orders=200, gone=False)
    async with vault.opened() as store:
        backing_up = asyncio.to_thread(vault.ok, "backup", str(tmp_path / "online"))
        async with asyncio.TaskGroup() as tasks:
            told = tasks.create_task(backing_up)
            number = 1000
            while not told.done():
                await store.record([order(number), await a_call(vault, number)])
                number += 1
        numbers = sum(end.number for end in await store.ends())
        manifest = told.result()
        held = sum(head["number"] for head in manifest["heads"])
        assert 200 + CALLS + 2 <= held <= numbers
        assert manifest["bodies_missing"] == []
        assert number > 1001, "ingest went on meanwhile"
    empty = AVault(tmp_path / "empty")
    async with empty.opened():
        said = await asyncio.to_thread(lambda: empty.refused("restore", str(made), slug="vault-in-use"))
        assert f"process {os.getpid()}" in said
    restored = AVault(tmp_path / "restored")
    await asyncio.to_thread(restored.ok, "restore", str(tmp_path / "online"))
    assert (await asyncio.to_thread(restored.ok, "verify"))["events"] == held


def test_erasures_that_are_going_on_come_along(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=5, gone=False)
    (vault.folder / "erasures").mkdir()
    (vault.folder / "erasures" / "e-1.json").write_text('{"value": "secret"}')
    vault.ok("backup", str(tmp_path / "backup"))
    other = AVault(tmp_path / "other")
    other.ok("restore", str(tmp_path / "backup"))
    copy = other.folder / "erasures" / "e-1.json"
    assert copy.read_text() == '{"value": "secret"}'
    assert copy.stat().st_mode & 0o777 == 0o600
    (tmp_path / "backup" / "erasures" / "e-1.json").unlink()
    said = AVault(tmp_path / "third").refused("restore", str(tmp_path / "backup"), slug="backup-damaged")
    assert "e-1.json" in said


def test_bodies_that_nothing_names_do_not_come_along(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=5, gone=False)
    asyncio.run(a_call(vault, 777))  # its body is there, its event never came
    assert vault.ok("backup", str(tmp_path / "backup"))["bodies"] == CALLS


def test_bodies_that_are_not_there_are_listed(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=5, gone=False)
    gone = vault.body_files()[3]
    gone.unlink()
    told = vault.ok("backup", str(tmp_path / "backup"))
    assert told["bodies_missing"] == [f"{BUCKET}/{gone.stem}"]
    other = AVault(tmp_path / "other")
    assert other.ok("restore", str(tmp_path / "backup"))["bodies_missing"] == [f"{BUCKET}/{gone.stem}"]
    assert "1 body that a call names" in vault.run("backup", str(tmp_path / "again")).out


def change_database(backup: Path) -> None:
    content = bytearray((backup / "vault.db").read_bytes())
    content[len(content) // 2] ^= 1
    (backup / "vault.db").write_bytes(content)


def change_body(backup: Path) -> None:
    body = next(path for path in (backup / "bodies").rglob("*") if len(path.stem) == 64)
    body.write_bytes(body.read_bytes()[:-1])


def lose_body(backup: Path) -> None:
    next(path for path in (backup / "bodies").rglob("*") if len(path.stem) == 64).unlink()


def change_manifest(backup: Path, **changes: Any) -> None:
    path = backup / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_database, "vault.db is not what was written"),
        (change_body, "is damaged"),
        (lose_body, "does not hold what manifest.json says"),
        (lambda backup: change_manifest(backup, events=1), "does not hold"),
        (lambda backup: change_manifest(backup, format=2), "has format 2"),
        (lambda backup: change_manifest(backup, heads="x"), "cannot be read"),
        (lambda backup: (backup / "manifest.json").unlink(), "has no manifest.json"),
        (lambda backup: (backup / "vault.db").unlink(), "vault.db"),
        (shutil.rmtree, "no backup"),
    ],
)
def test_a_damaged_backup_is_not_restored(backup: Path, tmp_path: Path, change: Any, said: str) -> None:
    change(backup)
    other = AVault(tmp_path / "other")
    assert said in other.refused("restore", str(backup), slug="backup-damaged")
    assert not other.data_dir.exists()


def test_a_damaged_vault_is_not_backed_up(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=30, gone=False)
    content = bytearray(vault.database.read_bytes())
    content[content.index(b"order-17\xa4shop\xb1shop.order.placed") + 4] ^= 1
    vault.database.write_bytes(content)
    assert "(1, 18)" in vault.refused("backup", str(tmp_path / "backup"), slug="vault-unsound")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_there_must_be_room(
    vault: AVault, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=disk.SPARE_BYTES + PIECE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    other = AVault(tmp_path / "other")
    for said in (
        vault.refused("backup", str(tmp_path / "backup"), slug="no-room"),
        other.refused("restore", str(made), slug="no-room"),
    ):
        assert "of disk, and 17.0 MB are free there" in said
    assert not (tmp_path / "backup").exists()
    assert not other.database.exists()


def test_killed_anywhere_it_is_taken_up(vault: AVault, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    environment |= {"PYTHONPATH": str(ROOT), "TRUNKLINE_DATA_DIR": str(vault.data_dir)}
    partial = folder.with_name(".backup.partial")
    marks = (partial, partial / "bodies" / BUCKET, partial / "vault.db")
    for mark in marks:
        with subprocess.Popen(
            [sys.executable, "-m", "services", "vault", "backup", str(folder)],
            env=environment,
            stdout=subprocess.DEVNULL,
        ) as victim:
            while victim.poll() is None and not mark.exists():
                os.sched_yield()
            victim.send_signal(signal.SIGKILL)
        if folder.exists():  # it was quicker than we are
            shutil.rmtree(folder)
    told = vault.ok("backup", str(folder))
    assert told["bodies"] == CALLS - 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup"]
    assert sorted(path.name for path in folder.iterdir()) == ["bodies", "manifest.json", "vault.db"]
    AVault(tmp_path / "other").ok("restore", str(folder))


def test_two_backups_to_one_folder(vault: AVault, tmp_path: Path) -> None:
    with disk.partial_of(tmp_path / "backup"):
        said = vault.refused("backup", str(tmp_path / "backup"), slug="backup-exists")
    assert "is going on" in said
