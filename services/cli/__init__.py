"""The `trunkline` command: an outside client of the API, plus `up`, `run` and `demo`, which start the system.

Each command is a module of its own, imported when it is called: `--help` and small commands start in a
fraction of a second. How commands end is in `exits`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.cli import exits

if TYPE_CHECKING:
    from cyclopts import App

ABOUT = """See what your APIs really do: calls through the gateway are captured, kept, and can be sent again.

Begin with `trunkline up`, then call an API through the address that `trunkline url` gives."""

# name -> (what it does, where it is), in the order of --help.
COMMANDS = {
    "up": ("Start everything in this process.", "services.cli.up:up"),
    "run": ("Start only the services that are named.", "services.cli.run:run"),
    "setup": ("Make the first bucket and token of running services.", "services.cli.setup:setup"),
    "demo": ("Show the whole thing on real calls in half a minute.", "services.cli.demo:demo"),
    "url": ("The gateway address of a URL.", "services.cli.url:url"),
    "calls": ("List captured calls, newest first.", "services.cli.calls:calls"),
    "show": ("Show one call whole, or as curl, Python or HAR.", "services.cli.show:show"),
    "tail": ("Follow calls as they come.", "services.cli.tail:tail"),
    "replay": ("Send a call again and compare the answers.", "services.cli.replay:replay"),
    "export": ("Write calls to a HAR file.", "services.cli.export:export"),
    "trace": ("Show what a call or an event caused.", "services.cli.trace:trace"),
    "buckets": ("List the buckets, or show one as it was.", "services.cli.buckets:buckets"),
    "health": ("Whether this host's services are ready.", "services.cli.health:health"),
    "status": ("Which services run, and how they are.", "services.cli.status:status"),
}


# What begins with a hyphen and is no option: a query that begins with what it excludes, as in
# `trunkline calls -path:/health`, and `-` for standard output. A blank before it says so.
_NO_OPTION = re.compile(r"-(?:$|\(|[A-Za-z][A-Za-z0-9._-]*:)")


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; never raises."""
    as_json = "--json" in arguments
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except Exception as error:
        trouble = exits.as_trouble(error)
        if trouble.exit_code == exits.FAULT and os.environ.get("TRUNKLINE_LOG_LEVEL") == "debug":
            sys.excepthook(type(error), error, error.__traceback__)
        return exits.report(trouble, as_json=as_json)


def app() -> App:
    """The commands, none of them imported yet."""
    from cyclopts import App, Parameter

    from services import catalog

    found = App(
        name="trunkline",
        help=ABOUT,
        version=version,
        help_format="markdown",
        default_parameter=Parameter(negative=()),
    )
    for order, (name, (purpose, place)) in enumerate(COMMANDS.items()):
        found.command(place, name=name, help=purpose, sort_key=order)
    for order, verb in enumerate(catalog.commands(), len(COMMANDS)):
        place = f"services.cli.rooms:{verb.name}"
        found.command(place, name=verb.name, help=verb.purpose, sort_key=order)
    return found


def version() -> str:
    """The installed version."""
    from importlib import metadata

    try:
        return metadata.version("trunkline")
    except metadata.PackageNotFoundError:
        return "0+source"


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    arguments = [f" {each}" if _NO_OPTION.match(each) else each for each in arguments]
    try:
        answer = app()(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return exits.USAGE
    sys.stdout.flush()
    return answer if isinstance(answer, int) else exits.OK
