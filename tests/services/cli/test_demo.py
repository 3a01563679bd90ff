"""`trunkline demo` as a newcomer runs it: real processes, real calls, a real kill -9, nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.services.cli.an_installation import ROOT

IN_TIME_S = 30  # what is promised; it takes a tenth of that


def test_the_demo_keeps_its_promises_and_tidies_up(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "services", "demo"],
        env=environment | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=IN_TIME_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    kept = re.search(r"(\d+) of (\d+) are kept", done.stdout)
    assert kept is not None, done.stdout
    assert kept[1] == kept[2]
    assert int(kept[1]) >= 200
    for said in ("connect-refused", "HTTP/1.1 201 Created", "kill -9", "none is missing", "What next"):
        assert said in done.stdout, done.stdout
    assert list(tmp_path.iterdir()) == []
