"""Finding the servers' programs, and saying what to install where none can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.stack import StackError, locate


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its PATH, and no package manager."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(locate, "ROOT", tmp_path)
    monkeypatch.delenv("TRUNKLINE_TEST_INSTALL", raising=False)
    return tmp_path


def test_homebrew_keeps_redis_in_a_folder_of_its_own(bare: Path) -> None:
    there = program(bare / "opt/homebrew/opt/redis/bin/redis-server")
    assert locate.find_redis() == there


def test_what_is_on_the_path_comes_first(bare: Path) -> None:
    program(bare / "opt/homebrew/opt/redis/bin/redis-server")
    own = program(bare / "bin/redis-server")
    assert locate.find_redis() == own


def test_rabbitmq_is_of_no_use_without_erlang(bare: Path) -> None:
    script = program(bare / "opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server")
    assert locate.find_rabbitmq() is None
    program(bare / "opt/homebrew/bin/erl")
    assert locate.find_rabbitmq() is not None
    assert script.exists()


def test_the_newest_postgresql_is_taken(bare: Path) -> None:
    for version in ("9.6", "14", "16"):
        for name in ("initdb", "postgres"):
            program(bare / f"opt/homebrew/opt/postgresql@{version}/bin/{name}")
    assert locate.find_postgres() == bare / "opt/homebrew/opt/postgresql@16/bin"


def test_where_nothing_can_be_had_it_says_what_to_install(bare: Path) -> None:
    with pytest.raises(StackError, match=r"brew install redis") as told:
        locate.find_or_install(["redis"])
    assert "apt-get install redis-server" in str(told.value)
    assert "Docker" in str(told.value)


def test_without_a_yes_nothing_is_installed_through_sudo(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apt-get", "sudo"):
        program(bare / "bin" / name)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert locate.install(["redis"]) is False
