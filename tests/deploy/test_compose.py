"""deploy/compose.yaml and deploy/Dockerfile hold together, and fit the program; and the containers' commands,
run as processes, make an installation that captures calls and finds them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from services import catalog
from services.chassis import config
from services.cli import COMMANDS
from tests.deploy import compose

SECRETS = {
    "RABBITMQ_PASSWORD": "r1",
    "POSTGRES_PASSWORD": "p1",
    "REDIS_PASSWORD": "d1",
    "TRUNKLINE_SECRET_KEY": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U",
}
DOCKERFILE = (compose.FOLDER / "Dockerfile").read_text()
ROOT = compose.FOLDER.parent


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose.resolved(SECRETS)["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    """Those that run Trunkline's image."""
    return {name: each for name, each in services().items() if each["image"] == "trunkline"}


def settings_of(environment: dict[str, Any]) -> config.Loaded:
    return config.load(
        catalog.config_types(),
        environment={name: str(value) for name, value in environment.items()},
        folder=Path("/nowhere"),
    )


def test_every_service_of_the_catalogue_runs_in_a_container_of_its_own() -> None:
    run = [each["command"][1:] for each in ours().values() if each["command"][0] == "run"]
    assert sorted(run) == sorted([name] for name in catalog.SERVICES)


def test_every_command_exists() -> None:
    for each in ours().values():
        assert each["command"][0] in COMMANDS
    for said in re.findall(r'"trunkline", "(\w+)"', DOCKERFILE):
        assert said in COMMANDS
    (default,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    verb, *rest = json.loads(default)
    assert verb in COMMANDS
    assert set(rest) <= set(catalog.SERVICES)


def test_every_setting_exists_and_has_a_value_that_is_taken() -> None:
    in_image = dict(re.findall(r"(TRUNKLINE_\w+)=(\S+)", DOCKERFILE))
    assert in_image["TRUNKLINE_BIND"] == "0.0.0.0"
    for name, each in ours().items():
        loaded = settings_of(in_image | each["environment"])
        assert loaded.settings.bus_url == "amqp://trunkline:r1@rabbitmq:5672/", name
        assert loaded.settings.redis_url == "redis://:d1@redis:6379/0", name
        assert str(loaded.data_dir) == "/data"
    vault = settings_of(in_image | ours()["request_vault"]["environment"])
    assert vault.rooms["request_vault"].url == "postgresql://trunkline:p1@postgres:5432/trunkline"


def test_every_trunkline_variable_that_is_named_anywhere_is_a_setting() -> None:
    named = set(re.findall(r"TRUNKLINE_[A-Z_]+", compose.FILE.read_text() + compose.EXAMPLE.read_text()))
    assert len(named) >= 6
    structs: dict[str, type[msgspec.Struct]] = {"": config.Settings, **catalog.config_types()}
    known = {
        f"{config.PREFIX}{room}{'_' if room else ''}{field}".upper()
        for room, struct in structs.items()
        for field in struct.__struct_fields__
    }
    assert named | set(re.findall(r"TRUNKLINE_[A-Z_]+", DOCKERFILE)) <= known


def test_the_example_names_every_variable_and_no_other() -> None:
    assert set(compose.example()) == compose.variables_of(compose.FILE.read_text())


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_has_a_default(name: str) -> None:
    assert compose.example()[name] == ""
    with pytest.raises(compose.VariableMissing, match=name):
        compose.resolved({other: value for other, value in SECRETS.items() if other != name})


def test_only_gateway_and_api_are_published_and_on_this_machine_only() -> None:
    published = {name: each["ports"] for name, each in services().items() if "ports" in each}
    assert published == {"traffic_gateway": ["127.0.0.1:7080:7080"], "api": ["127.0.0.1:7081:7081"]}
    for name, ports in published.items():
        room = settings_of(services()[name]["environment"]).rooms[name]
        assert str(room.port) == ports[0].rpartition(":")[2]
        assert room.port_fixed


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({}, "http://127.0.0.1:7080"),
        ({"PUBLISH_GATEWAY_PORT": "9090"}, "http://127.0.0.1:9090"),
        ({"TRUNKLINE_GATEWAY_PUBLIC_URL": "https://gw.example.com"}, "https://gw.example.com"),
    ],
)
def test_the_gateway_knows_by_what_address_it_is_reached(said: dict[str, str], url: str) -> None:
    gateway = compose.resolved(SECRETS | said)["services"]["traffic_gateway"]
    assert settings_of(gateway["environment"]).rooms["traffic_gateway"].public_url == url


def test_volumes_restarts_and_health() -> None:
    volumes = set(compose.read()["volumes"])
    used = set()
    for name, each in services().items():
        mounted = [mount.partition(":")[0] for mount in each["volumes"]]
        assert mounted, name
        used |= set(mounted)
        assert each["restart"] == ("no" if name == "setup" else "unless-stopped")
        assert "healthcheck" in each or "HEALTHCHECK" in DOCKERFILE
        for needed, how in each.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "test" in services()[needed]["healthcheck"]
    assert used == volumes
    data = [each["volumes"] for name, each in ours().items() if name != "setup"]
    assert len({tuple(mounts) for mounts in data}) == len(data)
    assert all(mount.endswith(":/data") for mounts in data for mount in mounts)


def test_the_image_is_pinned_and_runs_as_nobody_in_particular() -> None:
    assert "--require-hashes" in DOCKERFILE
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.13-slim"] * 2
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["trunkline"]
    assert 'ENTRYPOINT ["trunkline"]' in DOCKERFILE


def test_what_the_image_is_made_from_is_let_in_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    wheel |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert let_in == wheel | {"pyproject.toml", "requirements.lock"}
    assert all((ROOT / name).exists() for name in let_in)


# --- the containers' commands, as processes


class Api(BaseHTTPRequestHandler):
    """Something to call."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"tea\n")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def an_api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Containers:
    """Runs what compose.yaml says, each command with the environment of its container, but for where the
    servers and volumes are here."""

    def __init__(self, folder: Path, **here: str) -> None:
        self._folder = folder
        self._here = here
        self._outside = {k: v for k, v in os.environ.items() if not k.startswith("TRUNKLINE_")}

    def environment(self, name: str) -> dict[str, str]:
        each = ours()[name]
        (mount,) = each["volumes"]
        told: dict[str, str] = each["environment"] | {"TRUNKLINE_BIND": "127.0.0.1"}
        told |= {key: value for key, value in self._here.items() if key in told}
        told["TRUNKLINE_DATA_DIR"] = str(self._folder / mount.partition(":")[0])
        return self._outside | told | {"PYTHONPATH": str(ROOT)}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "services", *ours()[name]["command"]],
                env=self.environment(name),
                cwd=self._folder,
                stderr=log,
            )

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services", *(command or ours()[name]["command"])],
            env=self.environment(name),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An empty database of its own: like compose.yaml's, the URL names no schema."""
    name = f"trunkline_{uuid.uuid4().hex}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))
    yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def form_of(url: str) -> str:
    """With the values of its parts left out."""
    return re.sub(r"[A-Za-z0-9_.]+(?=[:@/]|$)", "x", url.partition("://")[2])


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.rabbitmq
@pytest.mark.timeout(150)
def test_an_installation_of_these_commands_captures_a_call_and_finds_it(
    tmp_path: Path, amqp_url: str, redis_url: str, database_url: str
) -> None:
    assert form_of(database_url) == form_of(ours()["request_vault"]["environment"]["TRUNKLINE_VAULT_URL"])
    gateway_url = f"http://127.0.0.1:{free_port()}"
    containers = Containers(
        tmp_path,
        TRUNKLINE_BUS_URL=amqp_url,
        TRUNKLINE_REDIS_URL=redis_url,
        TRUNKLINE_VAULT_URL=database_url,
        TRUNKLINE_GATEWAY_PORT=gateway_url.rpartition(":")[2],
        TRUNKLINE_GATEWAY_PUBLIC_URL=gateway_url.replace("127.0.0.1", "localhost"),
        TRUNKLINE_API_PORT=str(free_port()),
        TRUNKLINE_TARGETS_ALLOW="loopback",
    )
    with ExitStack() as stack:
        target = stack.enter_context(an_api())
        assert containers.run("api", "health").returncode != 0, "nothing runs yet"
        running = {name: containers.start(name) for name in ours() if name != "setup"}
        for process in running.values():
            stack.callback(process.wait, 30)
            stack.callback(process.send_signal, signal.SIGTERM)

        first = containers.run("setup")
        assert first.returncode == 0, first.stderr
        credentials = tomllib.loads((tmp_path / "api-data" / "credentials.toml").read_text())
        assert credentials["gateway_url"] == gateway_url.replace("127.0.0.1", "localhost")
        assert credentials["token"] in first.stdout
        again = containers.run("setup")
        assert again.returncode == 0, again.stderr
        assert credentials["token"] not in again.stdout
        assert credentials == tomllib.loads((tmp_path / "api-data" / "credentials.toml").read_text())
        everyone = sorted([*running, *["ready"] * len(running)])
        for _ in range(20):  # whoever answers has heard each of the others within a beat or two
            well = containers.run("request_vault", "health")
            if sorted(well.stdout.split()) == everyone:
                break
        assert (well.returncode, sorted(well.stdout.split())) == (0, everyone)

        address = containers.run("api", "url", f"{target}/teas").stdout.strip()
        assert address == f"{credentials['gateway_url']}/{credentials['bucket']}/{target}/teas"
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.read() == b"tea\n"
            id = answer.headers["Trunkline-Call-Id"]
        for _ in range(40):  # captures are relaxed: it is readable a moment later
            shown = containers.run("api", "show", id, "--json")
            if shown.returncode == 0:
                break
        assert json.loads(shown.stdout)["request"]["url"] == f"{target}/teas"
        assert json.loads(containers.run("api", "calls", "--json").stdout)["calls"][0]["id"] == id
        held = containers.run("request_vault", "vault", "stats", "--json")
        assert (held.returncode, json.loads(held.stdout)["engine"]) == (0, "postgresql"), held.stderr
    assert {name: process.returncode for name, process in running.items()} == dict.fromkeys(running, 0)
