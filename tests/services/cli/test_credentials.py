"""credentials.toml: who may read it, what goes before it, and what a broken one is answered with."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.cli import credentials, exits
from services.cli.credentials import Credentials
from services.cli.exits import Trouble

WHOLE = Credentials("http://127.0.0.1:7081", "http://127.0.0.1:7080", "7xzcnsgbwox2", "tl_secret")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_URL", "GATEWAY_URL", "TOKEN", "BUCKET", "DATA_DIR"):
        monkeypatch.delenv(f"TRUNKLINE_{name}", raising=False)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "credentials.toml"
    credentials.write(file, WHOLE)
    assert credentials.read(file) == WHOLE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_writing_over_a_readable_file_closes_it(tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.write_text("")
    file.chmod(0o644)
    credentials.write(file, WHOLE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.write(tmp_path / "credentials.toml", WHOLE)
    monkeypatch.setenv("TRUNKLINE_TOKEN", "tl_other")
    monkeypatch.setenv("TRUNKLINE_API_URL", "https://api.example/")
    found = credentials.find(tmp_path)
    assert found == Credentials("https://api.example", WHOLE.gateway_url, WHOLE.bucket, "tl_other")


def test_the_data_folder_is_the_environments_or_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "trunkline-data"
    credentials.write(here / "credentials.toml", WHOLE)
    assert credentials.find(folder=tmp_path) == WHOLE
    monkeypatch.setenv("TRUNKLINE_DATA_DIR", str(tmp_path / "elsewhere"))
    assert credentials.find(folder=tmp_path) == Credentials()


def test_nothing_known_says_how_to_begin(tmp_path: Path) -> None:
    found = credentials.find(tmp_path)
    for need in (found.need_api, found.need_gateway, found.need_bucket):
        with pytest.raises(Trouble) as caught:
            need()
        assert caught.value.exit_code == exits.UNREACHABLE
        assert "trunkline up" in caught.value.remedy


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.write_text('api_url = "htt')
    with pytest.raises(Trouble, match="damaged") as caught:
        credentials.find(tmp_path)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == exits.CONFIG


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Trouble, match="cannot be written") as caught:
        credentials.write(tmp_path / "taken" / "credentials.toml", WHOLE)
    assert caught.value.exit_code == exits.CANNOT_WRITE
