"""Installing packages starts no service, whatever policy the machine had before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.stack import apt

THEIRS = "#!/bin/sh\n# the machine's own\nexit 0\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(apt, "SAVED", tmp_path / "policy-rc.d.saved")
    monkeypatch.setattr(apt, "LOCK", tmp_path / "lock")


def forbids_starts() -> bool:
    return subprocess.run([str(apt.POLICY)], check=False).returncode == 101


def test_without_a_policy_there_is_none_afterwards() -> None:
    with apt.no_service_starts():
        assert forbids_starts()
    assert not apt.POLICY.exists()


def test_the_machines_policy_is_put_back_even_after_an_error() -> None:
    apt.POLICY.write_text(THEIRS)
    apt.POLICY.chmod(0o755)
    with pytest.raises(ZeroDivisionError), apt.no_service_starts():
        1 / 0  # noqa: B018
    assert apt.POLICY.read_text() == THEIRS
    assert not apt.SAVED.exists()


def test_an_installation_that_was_killed_is_tidied_up_by_the_next() -> None:
    apt.SAVED.write_text(THEIRS)
    apt.POLICY.write_text(apt.OURS)
    with apt.no_service_starts():
        assert forbids_starts()
    assert apt.POLICY.read_text() == THEIRS
