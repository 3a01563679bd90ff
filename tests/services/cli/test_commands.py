"""The command line itself: quick, lazy, and clear about what is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from bus.errors import InUse
from services import catalog
from services.chassis.config import ConfigInvalid
from services.cli import COMMANDS, exits, main, version
from services.cli.exits import Trouble, as_trouble, report
from services.cli.groups import GROUPS

HEAVY = ("aiohttp", "structlog", "msgspec", "asyncio", "sqlite3", "services.chassis", "bus.connect")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_small_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from services.cli import main; main(sys.argv[1:]); "
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert not [name for name in HEAVY if name in loaded]


def test_help_lists_every_command_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == exits.OK
    told = capsys.readouterr().out
    for name, (purpose, _) in COMMANDS.items():
        assert name in told
        assert purpose in told
    for verb in catalog.commands():
        assert verb.purpose in told


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == exits.OK
    assert f"trunkline {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("group", "verb", "purpose"),
    [(group, verb, told[0]) for group, (_, verbs) in GROUPS.items() for verb, told in verbs.items()],
)
def test_each_verb_of_a_group_has_help_of_its_own(
    group: str, verb: str, purpose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([group, "--help"]) == exits.OK
    assert purpose in capsys.readouterr().out
    assert main([group, verb, "--help"]) == exits.OK
    assert f"trunkline {group} {verb}" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == exits.OK
    assert capsys.readouterr().out.strip() == version()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frob"], 'Unknown command "frob"'),
        (["calls", "--limt", "3"], "Did you mean --limit?"),
        (["calls", "--limit", "few"], "--limit"),
        (["show"], "requires an argument"),
        (["export", "--limt", "3"], "no such option"),
        (["show", "x", "--as", "ruby"], "curl"),
        (["tokens", "frob"], "frob"),
        (["buckets", "set"], "requires an argument"),
        (["tag"], "requires an argument"),
        (["note", "last"], "requires an argument"),
        (["run"], "no service is named"),
        (["run", "courrier"], "there is no service 'courrier'"),
    ],
)
def test_a_wrong_command_line_is_answered_with_64(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == exits.USAGE
    told = capsys.readouterr()
    assert said in " ".join((told.err + told.out).split())
    assert "Traceback" not in told.err


def test_trouble_is_one_line_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    trouble = Trouble("the port is taken", remedy="Set another.", exit_code=78, slug="port-in-use")
    assert report(trouble, as_json=False, stream=stream) == 78
    assert stream.getvalue() == "trunkline: the port is taken\n  Set another.\n"


def test_trouble_for_programs_is_json() -> None:
    stream = io.StringIO()
    report(Trouble("x", slug="s", exit_code=65), as_json=True, stream=stream)
    assert json.loads(stream.getvalue()) == {
        "error": {"slug": "s", "message": "x", "remedy": "", "exit_code": 65}
    }


def test_errors_of_the_trees_keep_slug_remedy_and_exit_code() -> None:
    found = as_trouble(ExceptionGroup("g", [InUse("in use")]))
    assert (str(found), found.slug, found.exit_code) == ("in use", InUse.slug, InUse.exit_code)
    assert as_trouble(ConfigInvalid("x")).exit_code == exits.CONFIG
    assert as_trouble(RuntimeError("boom")).exit_code == exits.FAULT


def test_exit_codes_are_all_told_in_one_place() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    told = {int(line.split()[0]) for line in (exits.__doc__ or "").splitlines() if line.strip()[:1].isdigit()}
    assert codes == told
