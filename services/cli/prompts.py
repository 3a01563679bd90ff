"""What a command asks the person at the terminal: whether it is meant, and passwords, which are not shown."""

from __future__ import annotations

import sys

from services.cli import exits
from services.cli.exits import Trouble

STDIN = "--password-stdin"


def confirm(what_goes: str, *, yes: bool, as_json: bool) -> None:
    """Return when it is meant: `--yes` was given, or the person at the terminal says so. Raises Trouble."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise Trouble(
            f"this cannot be undone: {what_goes}", remedy="Say --yes if it is meant.", exit_code=exits.USAGE
        )
    print(f"{what_goes}\nThis cannot be undone. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Trouble("nothing was done", remedy="Answer y if it is meant.", exit_code=exits.NO)


def passwords(*names: str, from_stdin: bool, last_is_new: bool = False) -> list[str]:
    """One password for each name: lines of standard input, or asked for without echo. last_is_new: the last
    is chosen now, so it is asked for twice. Raises Trouble."""
    if from_stdin:
        found = [sys.stdin.readline().rstrip("\r\n") for _ in names]
        if not all(found):
            raise Trouble(
                f"{STDIN} got {sum(map(bool, found))} of {len(names)} lines that are needed",
                remedy=f"Write on standard input, a line each: {', '.join(names)}.",
                exit_code=exits.USAGE,
            )
        return found
    if not sys.stdin.isatty():
        raise Trouble(
            "a password is asked for at a terminal only",
            remedy=f"Give {STDIN}, and the password as a line of standard input.",
            exit_code=exits.USAGE,
        )
    from getpass import getpass

    found = [getpass(f"{name[:1].upper()}{name[1:]}: ") for name in names]
    if last_is_new and getpass("The same again: ") != found[-1]:
        raise Trouble("the two are not the same", remedy="Try again.", exit_code=exits.USAGE)
    return found
