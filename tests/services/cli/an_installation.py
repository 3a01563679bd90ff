"""A real `trunkline up` in a process and a data folder of its own, and its command line, for tests of
both."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from services.cli import exits, main

ROOT = Path(__file__).resolve().parents[3]


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Installation:
    """told: what `up --json` said."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self.told: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")
        } | {
            "TRUNKLINE_DATA_DIR": str(data_dir),
            # Ports of the system's choice: tests of several installations run side by side.
            "TRUNKLINE_GATEWAY_PORT": "0",
            "TRUNKLINE_API_PORT": "0",
            "PYTHONPATH": str(ROOT),
            **environment,
        }

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self, *options: str) -> None:
        """Return when it is ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services", "up", "--json", *options],
            env=self.environment,
            cwd=self.data_dir.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"up ended: {self.process.communicate()[1]}")
        self.told = json.loads(line)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code and what it said on standard error."""
        self.process.send_signal(number)
        err = self.process.communicate(timeout=30)[1]
        code = self.process.returncode
        self._process = None
        return code, err

    def run(self, *arguments: str, **environment: str) -> Ended:
        """A command of a client, in this process: importing everything anew each time is what would take
        long."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            mock.patch.dict(os.environ, self.environment | environment, clear=True),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main(arguments)
        told = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return Ended(code, *told)

    def run_alone(self, *arguments: str, **environment: str) -> Ended:
        """A command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "services", *arguments],
            env=self.environment | environment,
            cwd=self.data_dir.parent,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def shown(self, id: str) -> Any:
        """The call, as soon as it is readable: that is a moment after it was answered."""
        until = time.monotonic() + 10
        while (done := self.run("show", id, "--json")).returncode == exits.NOT_THERE:
            assert time.monotonic() < until, done.stderr
        assert done.returncode == exits.OK, done.stderr
        return json.loads(done.stdout)

    def through(self, url: str) -> str:
        return f"{self.told['gateway_url']}/{self.told['bucket']}/{url}"

    def call(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, str]:
        """Call the sample API through the gateway: status, body, and the call's id."""
        url = self.through(f"{self.told['sample_url']}{path}")
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read(), answer.headers["Trunkline-Call-Id"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers["Trunkline-Call-Id"]

    def make_strict(self) -> None:
        """From now on the first bucket holds each answer until its capture is safe; returns when the gateway
        knows."""
        credentials = tomllib.loads((self.data_dir / "credentials.toml").read_text())
        request = urllib.request.Request(
            f"{self.told['api_url']}/v1/buckets/{self.told['bucket']}",
            data=json.dumps({"name": "strict", "capture": "strict"}).encode(),
            headers={"Authorization": f"Bearer {credentials['token']}", "Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        until = time.monotonic() + 10
        while not self.shown(self.call("/teas")[2])["strict"]:
            assert time.monotonic() < until, "the gateway does not learn that the bucket is strict"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._process = None


@contextmanager
def an_installation(data_dir: Path, *options: str, **environment: str) -> Iterator[Installation]:
    found = Installation(data_dir, **environment)
    found.start(*options)
    try:
        yield found
    finally:
        if found._process is not None:
            found.kill()
