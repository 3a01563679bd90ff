"""The script that makes virtual environments."""

from __future__ import annotations

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/venv.sh"


def test_without_python_and_uv_it_says_what_to_install_and_touches_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("uname", "rm"):
        (tools / name).symlink_to(f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else f"/bin/{name}")
    kept = tmp_path / "venv"
    kept.mkdir()
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT), str(kept), "requirements.lock"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert kept.exists()
