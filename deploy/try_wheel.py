"""Installs a wheel in an environment of its own and runs it: `python -m deploy.try_wheel FILE.whl`.

Called by `make test-wheel`. What it proves: the wheel holds all that is needed at run time, its dependencies
are those of the lock, the command exists, and `trunkline up` starts, serves, and ends with 0 when it is asked
to. Each step is printed; the first that fails ends it with 1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


class Failed(Exception):
    """A step did not do what it should; the message says what was seen."""


def main(arguments: list[str]) -> int:
    """Try the wheel that is the only argument."""
    (wheel,) = arguments
    with tempfile.TemporaryDirectory(prefix="trunkline-wheel-") as name:
        folder = Path(name)
        try:
            subprocess.run(
                ["sh", str(ROOT / "deploy/venv.sh"), str(folder / "venv"), "requirements.lock", wheel],
                cwd=ROOT,
                check=True,
            )
            command = folder / "venv/bin/trunkline"
            env = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("TRUNKLINE_", "PYTHON"))
            }
            version = subprocess.run(
                [str(command), "--version"], cwd=folder, env=env, check=True, capture_output=True, text=True
            ).stdout.strip()
            print(f"trunkline --version: {version}")
            if Path(wheel).name.split("-")[1] not in version:
                raise Failed(f"the wheel is {Path(wheel).name}, and says that its version is {version}")
            try_up(command, folder, env)
        except (Failed, subprocess.CalledProcessError) as error:
            print(f"the wheel does not work: {error}", file=sys.stderr)
            return 1
    return 0


def try_up(command: Path, folder: Path, env: dict[str, str]) -> None:
    """Start everything in one process, ask for its health, end it. Raises Failed."""
    data = folder / "data"
    own = {"TRUNKLINE_DATA_DIR": str(data), "TRUNKLINE_GATEWAY_PORT": "0", "TRUNKLINE_API_PORT": "0"}
    log, told = folder / "up.log", folder / "up.json"
    started = time.monotonic()
    with log.open("wb") as errors, told.open("wb") as output:
        process = subprocess.Popen(
            [str(command), "up", "--json"], cwd=folder, env={**env, **own}, stdout=output, stderr=errors
        )
    try:
        while not healthy(told):
            if process.poll() is not None:
                raise Failed(f"`trunkline up` ended with {process.returncode}:\n{log.read_text()}")
            if time.monotonic() > started + START_TIMEOUT_S:
                raise Failed(
                    f"`trunkline up` was not healthy after {START_TIMEOUT_S:g} s:\n{log.read_text()}"
                )
            time.sleep(0.05)
        print(f"trunkline up: healthy after {time.monotonic() - started:.1f} s")
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"`trunkline up` went on for {STOP_TIMEOUT_S:g} s after SIGTERM") from None
        if code != 0:
            raise Failed(f"`trunkline up` ended with {code} on SIGTERM:\n{log.read_text()}")
        print("trunkline up: ended with 0 on SIGTERM")
    finally:
        process.kill()
        process.wait()


def healthy(told: Path) -> bool:
    """Whether `up` has said where its API is, and the API that it is well."""
    try:
        api_url = json.loads(told.read_text())["api_url"]
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, json.JSONDecodeError):
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
