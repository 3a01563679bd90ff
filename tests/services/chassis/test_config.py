"""Settings: what goes before what, and what a wrong one is answered with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from services.chassis import config
from services.chassis.config import ConfigInvalid, Loaded


class Gateway(msgspec.Struct, frozen=True):
    bind: str = "127.0.0.1"
    port: int = 7080
    port_fixed: bool = False
    domain: str = "localhost"
    wait_timeout_s: float = 60.0
    mode: Literal["fast", "slow"] = "fast"
    hosts: tuple[str, ...] = ()
    strict: bool = False
    signing_secret: str = ""


class Vault(msgspec.Struct, frozen=True):
    url: str = "sqlite:"


ROOMS: dict[str, type[msgspec.Struct]] = {"traffic_gateway": Gateway, "request_vault": Vault}


def load(folder: Path, toml: str = "", **environment: str) -> Loaded:
    if toml:
        (folder / config.FILE_NAME).write_text(toml)
    given = {f"TRUNKLINE_{name}": value for name, value in environment.items()}
    given.setdefault("TRUNKLINE_DATA_DIR", str(folder / "data"))
    return config.load(ROOMS, environment=given, folder=folder)


def test_nothing_set_is_all_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.settings.bus_url == "embedded:"
    assert loaded.rooms["traffic_gateway"] == Gateway()
    assert loaded.file is None


def test_the_environment_goes_before_the_file_and_the_file_before_defaults(tmp_path: Path) -> None:
    toml = 'redis_url = "redis://a"\nbind = "::1"\n[traffic_gateway]\nwait_timeout_s = 5\nmode = "slow"\n'
    loaded = load(tmp_path, toml, REDIS_URL="redis://b", TRAFFIC_GATEWAY_WAIT_TIMEOUT_S="2.5")
    assert loaded.settings.redis_url == "redis://b"
    assert loaded.rooms["traffic_gateway"].wait_timeout_s == 2.5
    assert loaded.rooms["traffic_gateway"].mode == "slow"
    assert loaded.file == tmp_path / config.FILE_NAME


def test_a_room_takes_the_installations_value_unless_its_own_is_set(tmp_path: Path) -> None:
    loaded = load(tmp_path, BIND="0.0.0.0", VAULT_URL="postgresql://h/db", GATEWAY_DOMAIN="gw.example")
    assert loaded.rooms["traffic_gateway"].bind == "0.0.0.0"
    assert loaded.rooms["traffic_gateway"].domain == "gw.example"
    assert loaded.rooms["request_vault"].url == "postgresql://h/db"
    own = load(tmp_path, BIND="0.0.0.0", TRAFFIC_GATEWAY_BIND="::1")
    assert own.rooms["traffic_gateway"].bind == "::1"


@pytest.mark.parametrize(
    ("environment", "port", "fixed"),
    [
        ({}, 7080, False),
        ({"GATEWAY_PORT": "7080"}, 7080, True),
        ({"TRAFFIC_GATEWAY_PORT": "9000"}, 9000, True),
        ({"TRAFFIC_GATEWAY_PORT": "9000", "GATEWAY_PORT": "9001"}, 9000, True),
        ({"GATEWAY_PORT": "0"}, 0, True),
    ],
)
def test_a_port_knows_whether_it_was_set(
    tmp_path: Path, environment: dict[str, str], port: int, fixed: bool
) -> None:
    gateway = load(tmp_path, **environment).rooms["traffic_gateway"]
    assert (gateway.port, gateway.port_fixed) == (port, fixed)


def test_values_from_the_environment_are_converted(tmp_path: Path) -> None:
    gateway = load(
        tmp_path, TRAFFIC_GATEWAY_HOSTS="a.example, b.example", TRAFFIC_GATEWAY_STRICT="true"
    ).rooms["traffic_gateway"]
    assert gateway.hosts == ("a.example", "b.example")
    assert gateway.strict is True


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"BUS_ULR": "x"}, "TRUNKLINE_BUS_ULR is no setting; did you mean TRUNKLINE_BUS_URL?"),
        (
            {"TRAFFIC_GATEWAY_WAIT_TIMEOUT": "3"},
            "TRUNKLINE_TRAFFIC_GATEWAY_WAIT_TIMEOUT is no setting; "
            "did you mean TRUNKLINE_TRAFFIC_GATEWAY_WAIT_TIMEOUT_S?",
        ),
        ({"GATEWAY_PORT": "http"}, "TRUNKLINE_GATEWAY_PORT is 'http'; expected a port number"),
        ({"GATEWAY_PORT": "70000"}, "TRUNKLINE_GATEWAY_PORT is '70000'; expected a port number"),
        (
            {"TRAFFIC_GATEWAY_WAIT_TIMEOUT_S": "soon"},
            "TRUNKLINE_TRAFFIC_GATEWAY_WAIT_TIMEOUT_S is 'soon'; expected a number",
        ),
        ({"TRAFFIC_GATEWAY_MODE": "quick"}, "is 'quick'; expected one of fast, slow"),
        ({"LOG_LEVEL": "loud"}, "TRUNKLINE_LOG_LEVEL is 'loud'; expected one of auto, debug, info"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, **environment)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('bus_ulr = "x"', "bus_ulr is no setting; did you mean bus_url?"),
        ("[trafic_gateway]\nport = 1", "trafic_gateway is no setting; did you mean traffic_gateway?"),
        ("[traffic_gateway]\nprot = 1", "[traffic_gateway] prot is no setting; did you mean port?"),
        ("traffic_gateway = 1", "write its settings as a table [traffic_gateway]"),
        ("bind = 5", "bind is 5; expected text"),
        ('[traffic_gateway]\nport = "7080"', "[traffic_gateway] port is '7080'; expected a whole number"),
        ("bind = ", "is no TOML"),
    ],
)
def test_a_wrong_line_of_the_file_is_named(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, toml)
    assert said in str(caught.value)
    assert str(tmp_path / config.FILE_NAME) in str(caught.value)


def test_the_file_of_the_data_folder_is_read_when_there_is_none_here(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / config.FILE_NAME).write_text('redis_url = "redis://a"')
    loaded = load(tmp_path)
    assert loaded.settings.redis_url == "redis://a"
    assert loaded.file == tmp_path / "data" / config.FILE_NAME


def test_a_file_in_the_data_folder_cannot_move_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / config.FILE_NAME).write_text('data_dir = "elsewhere"')
    with pytest.raises(ConfigInvalid, match="data_dir"):
        load(tmp_path)


def test_the_data_folder_beside_goes_before_the_users(tmp_path: Path) -> None:
    assert config.default_data_dir(tmp_path) != tmp_path / config.LOCAL_DATA
    (tmp_path / config.LOCAL_DATA).mkdir()
    assert config.load(ROOMS, environment={}, folder=tmp_path).data_dir == tmp_path / config.LOCAL_DATA
    assert config.data_dir_named(tmp_path, {}) == tmp_path / config.LOCAL_DATA


def test_client_commands_find_the_same_data_folder(tmp_path: Path) -> None:
    (tmp_path / config.FILE_NAME).write_text('data_dir = "kept"\nunknown_here = 1')
    assert config.data_dir_named(tmp_path, {}) == tmp_path / "kept"
    assert config.data_dir_named(tmp_path, {"TRUNKLINE_DATA_DIR": "/x"}) == Path("/x")


def test_the_command_lines_own_and_the_tests_variables_are_no_settings(tmp_path: Path) -> None:
    environment = {"API_URL": "http://x", "TOKEN": "tl_x", "TEST_AMQP_URL": "amqp://x"}
    load(tmp_path, **environment)
    given = {f"TRUNKLINE_{name}": value for name, value in environment.items()}
    assert config.client_values(given) == {"api_url": "http://x", "token": "tl_x"}


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        BUS_URL="amqp://trunkline:pa55word@broker:5672/vh",
        TRAFFIC_GATEWAY_SIGNING_SECRET="s3cret",
    )
    shown = loaded.shown()
    assert shown["bus_url"] == "amqp://trunkline:***@broker:5672/vh"
    assert shown["traffic_gateway.signing_secret"] == "***"
    assert "s3cret" not in str(shown)


def test_an_error_about_a_secret_does_not_tell_it(tmp_path: Path) -> None:
    toml = "[traffic_gateway]\nsigning_secret = 987654"
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, toml)
    assert "987654" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://gw.example.com",
        "https://gw.example.com/",
        "https://GW-1.example.com:65535",
        "http://127.0.0.1:7080",
        "http://[::1]:7080",
        "http://localhost",
    ],
)
def test_a_public_address_is_scheme_host_and_perhaps_a_port(tmp_path: Path, url: str) -> None:
    loaded = load(tmp_path, GATEWAY_PUBLIC_URL=url)
    assert loaded.settings.gateway_public_url == url
    assert load(tmp_path, f'gateway_public_url = "{url}"').settings.gateway_public_url == url


@pytest.mark.parametrize(
    "url",
    [
        "gw.example.com",
        "ftp://gw.example.com",
        "https://",
        "https://gw.example.com/path",
        "https://gw.example.com?x=1",
        "https://gw.example.com#x",
        "https://user:secret@gw.example.com",
        "https://gw.example.com:0",
        "https://gw.example.com:65536",
        "https://gw.example.com:",
        "https://-gw.example.com",
        "https://gw example.com",
        "https://gw.example.com\n",
    ],
)
def test_any_other_public_address_is_refused_by_name(tmp_path: Path, url: str) -> None:
    with pytest.raises(
        ConfigInvalid, match=r"TRUNKLINE_GATEWAY_PUBLIC_URL is .*expected http:// or https://"
    ):
        load(tmp_path, GATEWAY_PUBLIC_URL=url)
    with pytest.raises(ConfigInvalid, match=r"gateway_public_url is .*expected http:// or https://"):
        load(tmp_path, f"gateway_public_url = {json.dumps(url)}")
