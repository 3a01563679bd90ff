"""Settings: the environment `TRUNKLINE_*` over `trunkline.toml` over defaults, as frozen structs.

Called by the command line once at start. The only reader of the environment.

    TRUNKLINE_BUS_URL=amqp://...                    bus_url = "amqp://..."
    TRUNKLINE_TRAFFIC_GATEWAY_WAIT_TIMEOUT_S=5      [traffic_gateway]
                                                    wait_timeout_s = 5

The installation's settings are `Settings`; each room has its own `Config`. A room's field takes the
installation's setting of the same name (`bind`), or of the name in `TAKEN` (its `port` is the
`gateway_port`), unless its own is set; a field `port_fixed` learns whether the port was set by anybody. A key
that nobody knows and a value of the wrong type are errors (ConfigInvalid) that name key, value and what was
expected. `trunkline.toml` is read from the working folder, else from the data folder; `Loaded.file` says
which.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit, urlunsplit

import msgspec

FILE_NAME = "trunkline.toml"
LOCAL_DATA = "trunkline-data"
PREFIX = "TRUNKLINE_"
# The command line's own, as an outside client of the API.
CLIENT_KEYS = ("API_URL", "GATEWAY_URL", "TOKEN", "BUCKET")
TEST_PREFIX = "TRUNKLINE_TEST_"  # where the tests' servers are; no setting of the system
# A room's fields that take an installation's setting of another name, unless their own is set.
TAKEN = {
    ("traffic_gateway", "port"): "gateway_port",
    ("traffic_gateway", "domain"): "gateway_domain",
    ("traffic_gateway", "public_url"): "gateway_public_url",
    ("traffic_gateway", "tls_port"): "gateway_tls_port",
    ("traffic_gateway", "tls_cert"): "gateway_tls_cert",
    ("traffic_gateway", "tls_key"): "gateway_tls_key",
    ("api", "port"): "api_port",
    ("request_vault", "url"): "vault_url",
}

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
PublicUrl = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A(https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
        r"(:(6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3}))?/?)?\Z"
    ),
]
LogFormat = Literal["auto", "pretty", "json"]
LogLevel = Literal["auto", "debug", "info", "warning", "error"]

_SECRET = re.compile(r"secret|password|passphrase|token", re.IGNORECASE)
_UNSET: Any = object()


class ConfigInvalid(ValueError):
    """A setting is unknown, misspelt or of the wrong type. The message names it and says what was
    expected."""

    slug = "config-invalid"
    meaning = "A configuration key does not exist, or its value is not what it should be."
    remedy = "Correct the environment variable or the line of trunkline.toml that the message names."
    exit_code = 78


class Settings(msgspec.Struct, frozen=True):
    """The installation's own. (`deploy.config_doc` reads this: each field's words end where the next field's
    begin.)

    data_dir: where everything is kept; not given: `trunkline-data` in the working folder if that is there,
    else the user's data folder. bus_url: `embedded:` is a journal in the data folder, `embedded:PATH` one in
    that file; or `amqp://` or `amqps://USER:PASSWORD@HOST[:PORT][/VHOST]`. vault_url: `sqlite:` keeps the log
    in the data folder, `sqlite:PATH` in that file. redis_url: what instances share, `memory:` or
    `redis://...`. secret_key: the installation's key, 32 bytes in base64url; older ones behind it, after
    commas; empty: that of `installation.key` in the data folder, which `up` makes; needed wherever services
    run as processes of their own, the same for all.
    bind: the address that gateway and API listen on. gateway_domain: host names below it are addresses of the
    host scheme. gateway_port, api_port: 0 lets the system choose. gateway_public_url: by what address others
    reach the gateway, such as `https://gw.example.com`, when that is not where it listens (a container, a
    proxy in front); without a path; empty: worked out from bind and port.
    gateway_tls_port: where the gateway speaks TLS besides; 0: nowhere. gateway_tls_cert: a PEM file with its
    certificate, and those between it and the authority. gateway_tls_key: a PEM file with the private key, not
    encrypted; empty: it is in the file of the certificate. Both are read again when they change.
    targets_allow: what outgoing calls may reach beside the public internet: names of ranges (`loopback`,
    `private`), networks, addresses. Not given: `loopback` and `private` under `up`, else nothing.
    targets_deny: what they may not reach at all, whatever is allowed.
    log_format: on standard error; `auto` is pretty on a terminal, else JSON, a line each. log_level: `auto`
    is warning under `up`, else info."""

    data_dir: str
    bus_url: str = "embedded:"
    vault_url: str = "sqlite:"
    redis_url: str = "memory:"
    secret_key: str = ""
    bind: str = "127.0.0.1"
    gateway_domain: str = "localhost"
    gateway_port: Port = 7080
    api_port: Port = 7081
    gateway_public_url: PublicUrl = ""
    gateway_tls_port: Port = 0
    gateway_tls_cert: str = ""
    gateway_tls_key: str = ""
    targets_allow: tuple[str, ...] = ()
    targets_deny: tuple[str, ...] = ()
    log_format: LogFormat = "auto"
    log_level: LogLevel = "auto"

    def __repr__(self) -> str:
        shown = (f"{name}={hidden(name, getattr(self, name))!r}" for name in self.__struct_fields__)
        return f"Settings({', '.join(shown)})"


class Loaded(msgspec.Struct, frozen=True):
    """settings: the installation's. rooms: each room's Config, by name. file: the trunkline.toml that was
    read, None when there was none. given: the keys that were set, `key` or `room.key`."""

    settings: Settings
    rooms: dict[str, Any]
    file: Path | None
    given: frozenset[str]

    @property
    def data_dir(self) -> Path:
        return Path(self.settings.data_dir)

    def shown(self) -> dict[str, str]:
        """What was set, with secrets hidden: fit for a log."""
        answer = {}
        for key in sorted(self.given):
            room, _, name = key.rpartition(".")
            answer[key] = hidden(name, getattr(self.rooms[room] if room else self.settings, name))
        return answer


def load(
    rooms: Mapping[str, type[msgspec.Struct]],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    data_dir: Path | None = None,
) -> Loaded:
    """All settings of an installation. environment, folder: the process's unless given. data_dir: as from the
    command line, over everything else. Raises ConfigInvalid."""
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    said = _from_environment(environment, rooms)
    if data_dir is not None:
        said[("", "data_dir")] = (str(data_dir), "--data-dir")
    file, written = _from_file(folder / FILE_NAME, rooms)
    data = said.get(("", "data_dir")) or written.get(("", "data_dir"))
    where = Path(_text(*data)) if data else default_data_dir(folder)
    if file is None:
        file, written = _from_file(where / FILE_NAME, rooms)
        if ("", "data_dir") in written:
            raise ConfigInvalid(f"{file}: data_dir cannot be set by a file inside the data folder")
    given = {**written, **said}
    settings = Settings(
        **{**_values(Settings, "", given), "data_dir": str((folder / where.expanduser()).resolve())}
    )
    configs = {room: config(**_room_values(room, config, given, settings)) for room, config in rooms.items()}
    names = frozenset(f"{room}.{name}" if room else name for room, name in given)
    return Loaded(settings, configs, file, names)


def default_data_dir(folder: Path) -> Path:
    """`trunkline-data` in `folder` if it is there, else the user's data folder."""
    if (folder / LOCAL_DATA).is_dir():
        return folder / LOCAL_DATA
    import platformdirs  # here: most starts of the command line do not need it

    return Path(platformdirs.user_data_dir("trunkline", appauthor=False))


def data_dir_named(folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """The data folder that an installation started in `folder` uses, without reading the rest of its
    settings."""
    environment = os.environ if environment is None else environment
    named = environment.get(PREFIX + "DATA_DIR")
    if not named:
        _, written = _from_file(folder / FILE_NAME, {}, strict=False)
        named = _text(*written["", "data_dir"]) if ("", "data_dir") in written else None
    return folder / Path(named).expanduser() if named else default_data_dir(folder)


def client_values(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the environment says about how to reach the API: some of api_url, gateway_url, token, bucket."""
    environment = os.environ if environment is None else environment
    found = ((key.lower(), environment.get(PREFIX + key, "")) for key in CLIENT_KEYS)
    return {name: value for name, value in found if value}


def hidden(name: str, value: object) -> str:
    """A value as text, without its secrets: passwords of URLs, and whole values whose names say that they are
    secret."""
    text = str(value)
    if _SECRET.search(name):
        return "***" if text else ""
    if "://" not in text or "@" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "***"
    user, at, host = parts.netloc.rpartition("@")
    name_only, colon, _ = user.partition(":")
    return urlunsplit(parts._replace(netloc=f"{name_only}{':***' if colon else ''}{at}{host}"))


Key = tuple[str, str]  # (room, or "" for the installation; field)
Given = dict[Key, tuple[Any, str]]  # -> (raw value, where it was said)


def _from_environment(environment: Mapping[str, str], rooms: Mapping[str, type[msgspec.Struct]]) -> Given:
    known: dict[str, Key] = {PREFIX + key: ("client", key.lower()) for key in CLIENT_KEYS}
    structs: dict[str, type[msgspec.Struct]] = {"": Settings, **rooms}
    for room, struct in structs.items():
        for name in struct.__struct_fields__:
            variable = f"{PREFIX}{room + '_' if room else ''}{name}".upper()
            known.setdefault(variable, (room, name))
    given: Given = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable not in known:
            raise ConfigInvalid(f"environment variable {variable} is no setting{_closest(variable, known)}")
        if known[variable][0] != "client":
            given[known[variable]] = (value, variable)
    return given


def _from_file(
    path: Path, rooms: Mapping[str, type[msgspec.Struct]], *, strict: bool = True
) -> tuple[Path | None, Given]:
    """The file that was read, and what it sets. Not strict: names that are no settings are passed over."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None, {}
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is no TOML: {error}") from error
    given: Given = {}
    top = (*Settings.__struct_fields__, *rooms)
    for name, value in document.items():
        if name in rooms:
            if not isinstance(value, dict):
                raise ConfigInvalid(f"{path}: {name} is a service; write its settings as a table [{name}]")
            for field, inner in value.items():
                if field not in rooms[name].__struct_fields__:
                    closest = _closest(field, rooms[name].__struct_fields__)
                    raise ConfigInvalid(f"{path}: [{name}] {field} is no setting{closest}")
                given[name, field] = (inner, f"{path}: [{name}] {field}")
        elif name in Settings.__struct_fields__:
            given["", name] = (value, f"{path}: {name}")
        elif strict:
            raise ConfigInvalid(f"{path}: {name} is no setting{_closest(name, top)}")
    return path, given


def _room_values(room: str, config: type[msgspec.Struct], given: Given, settings: Settings) -> dict[str, Any]:
    values = _values(config, room, given)
    for name in config.__struct_fields__:
        taken = TAKEN.get((room, name), name)
        if name not in values and taken in Settings.__struct_fields__:
            values[name] = getattr(settings, taken)
    if "port_fixed" in config.__struct_fields__:
        port_given = (room, "port") in given or ("", TAKEN.get((room, "port"), "port")) in given
        values.setdefault("port_fixed", port_given)
    return values


def _values(struct: type[msgspec.Struct], room: str, given: Given) -> dict[str, Any]:
    """The fields of one struct that were set, converted."""
    answer = {}
    for field in msgspec.structs.fields(struct):
        raw, said = given.get((room, field.name), (_UNSET, ""))
        if raw is not _UNSET:
            answer[field.name] = _converted(raw, field.type, field.name, said)
    return answer


def _converted(raw: Any, wanted: Any, name: str, said: str) -> Any:
    from_environment = said.startswith(PREFIX)
    value = raw
    if from_environment and get_origin(wanted) in (tuple, list, frozenset, set):
        value = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        return msgspec.convert(value, wanted, strict=not from_environment)
    except msgspec.ValidationError as error:
        expected = _described(wanted)
        why = f"; expected {expected}" if expected else f": {error}"
        raise ConfigInvalid(f"{said} is {hidden(name, repr(raw))}{why}") from error


def _described(wanted: Any) -> str:
    """A type for people."""
    if wanted == Port:
        return "a port number from 0 to 65535"
    if wanted == PublicUrl:
        return "http:// or https://, a host, perhaps a port, and no path, such as https://gw.example.com"
    origin = get_origin(wanted)
    if origin is UnionType or origin is Union:  # a value or None, which is said by leaving it out
        return _described(next(inner for inner in get_args(wanted) if inner is not type(None)))
    if origin is Annotated:
        return ""
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(wanted)))
    if origin in (tuple, list, frozenset, set):
        return "a list"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(wanted, "")


def _text(raw: Any, said: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise ConfigInvalid(f"{said} is {raw!r}; expected the path of a folder")
    return raw


def _closest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
