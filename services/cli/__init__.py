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

# The panels of --help, in this order; in each, name -> (what it does, where it is).
PANELS = {
    "Run it": {
        "up": ("Start everything in this process.", "services.cli.up:up"),
        "run": ("Start only the services that are named.", "services.cli.run:run"),
        "setup": ("Make the first bucket and token of running services.", "services.cli.setup:setup"),
        "demo": ("Show the whole thing on real calls in half a minute.", "services.cli.demo:demo"),
        "health": ("Whether this host's services are ready.", "services.cli.health:health"),
        "status": ("Which services run, and how they are.", "services.cli.status:status"),
    },
    "Calls": {
        "url": ("The gateway address of a URL.", "services.cli.url:url"),
        "calls": ("List captured calls, newest first.", "services.cli.calls:calls"),
        "show": ("Show one call whole, or as curl, Python or HAR.", "services.cli.show:show"),
        "tail": ("Follow calls as they come.", "services.cli.tail:tail"),
        "replay": ("Send a call again and compare the answers.", "services.cli.replay:replay"),
        "export": ("Write calls to a HAR file.", "services.cli.export:export"),
        "trace": ("Show what a call or an event caused.", "services.cli.trace:trace"),
    },
    "Say something of a call": {
        "star": ("Star a call: it outlives retention.", "services.cli.marks:star"),
        "unstar": ("Take the star from a call.", "services.cli.marks:unstar"),
        "note": ("Write a note on a call.", "services.cli.marks:note"),
        "tag": ("Add tags to a call, and take some away.", "services.cli.marks:tag"),
        "share": ("Let whoever has the link read a call.", "services.cli.marks:share"),
        "unshare": ("End a call's link.", "services.cli.marks:unshare"),
    },
    "Take calls away": {
        "delete": ("Take a call out of sight.", "services.cli.marks:delete"),
        "undelete": ("Bring a deleted call back.", "services.cli.marks:undelete"),
        "erase": ("Erase a call for good.", "services.cli.erasing:erase"),
        "erase-subject": ("Erase every call that names somebody.", "services.cli.erasing:erase_subject"),
    },
    "Who may do what": {
        "buckets": ("List the buckets; create, change and delete them.", "services.cli.groups:buckets"),
        "tokens": ("List the tokens; make, rotate and revoke them.", "services.cli.groups:tokens"),
        "teams": ("List the teams; create, rename and delete them.", "services.cli.groups:teams"),
        "members": ("List a team's members; add, invite and remove them.", "services.cli.groups:members"),
        "audit": ("Who changed what.", "services.cli.audit:audit"),
    },
    "You": {
        "login": ("Sign in with a password.", "services.cli.signing:login"),
        "logout": ("Sign out.", "services.cli.signing:logout"),
        "whoami": ("Who you are to the API, and what you may do.", "services.cli.signing:whoami"),
        "password": ("Change your password.", "services.cli.signing:password"),
        "accept": ("Set a password with an invitation, and sign in.", "services.cli.signing:accept"),
    },
}
COMMANDS = {name: told for verbs in PANELS.values() for name, told in verbs.items()}


# What begins with a hyphen and is no option: a query that begins with what it excludes, as in
# `trunkline calls -path:/health`, and `-` for standard output. A blank before it says so.
_NO_OPTION = re.compile(r"-(?:$|\(|[A-Za-z][A-Za-z0-9._-]*:)")
# Of `trunkline tag ID +slow -b` too: there, one hyphen takes a tag away.
_TAG = re.compile(r"-[^-].*", re.DOTALL)


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
    from cyclopts import App, Group, Parameter

    from services import catalog

    found = App(
        name="trunkline",
        help=ABOUT,
        version=version,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
    )
    for order, (panel, verbs) in enumerate(PANELS.items()):
        shown = Group(panel, sort_key=order)
        for place_in_it, (name, (purpose, place)) in enumerate(verbs.items()):
            found.command(place, name=name, help=purpose, group=shown, sort_key=place_in_it)
    upkeep = Group("Upkeep", sort_key=len(PANELS))
    for order, verb in enumerate(catalog.commands()):
        place = f"services.cli.rooms:{verb.name}"
        found.command(place, name=verb.name, help=verb.purpose, group=upkeep, sort_key=order)
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

    tags_from = 2 if arguments and arguments[0] == "tag" else len(arguments)
    arguments = [
        f" {each}" if (_TAG if at >= tags_from else _NO_OPTION).match(each) else each
        for at, each in enumerate(arguments)
    ]
    try:
        answer = app()(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return exits.USAGE
    sys.stdout.flush()
    return answer if isinstance(answer, int) else exits.OK
