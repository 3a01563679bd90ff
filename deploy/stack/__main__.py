"""`python -m deploy.stack`: private RabbitMQ, Redis and PostgreSQL for tests, benchmarks and curious people.

    run [--copies N] -- COMMAND...   run a command with their URLs in its environment
    up                               start them, print the URLs, wait for Ctrl-C
    install                          only find or install the programs

Each takes `--only NAME,...` (rabbitmq, redis, postgres), `run` and `up` take `--rabbitmq4` too. `--copies`
starts so many stacks (`auto`: one for each processor, four at most), for tests that run side by side:
`Stack.attached()` has them all, the URLs are the first's.

`run` and `install` take `--clients`: the programs that tests drive as clients (curl, git, npm, a browser) are
found or installed first.

`run` exits as its command does (128 + the signal's number when a signal ended it). 1: the servers could not
be had; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from types import FrameType

from deploy.stack import locate, programs, stack
from deploy.stack.server import StackError

GRACE_S = 20.0


class Interrupted(BaseException):
    """A signal asks this program to stop. Like KeyboardInterrupt, nothing but the way out should catch it."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do it; returns the exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if options.clients:
            programs.find_or_install()
        if options.action == "install":
            for name, place in locate.find_or_install(options.only).items():
                print(f"{name}: {place or 'runs in Docker'}")
            return 0
        with stack.several(options.copies, options.only, rabbitmq4=options.rabbitmq4) as running:
            environment = stack.environment(running)
            try:
                if options.action == "run":
                    return run(options.command, environment)
                for name, value in environment.items():
                    print(f"export {name}={shlex.quote(value)}", flush=True)
                while True:
                    signal.pause()
            finally:
                # From here on nothing interrupts the clean-up.
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
    except Interrupted as interrupted:
        return 0 if options.action == "up" else 128 + interrupted.number
    except StackError as error:
        print(f"deploy.stack: {error}", file=sys.stderr)
        return 1


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command under these variables to its end; it is told to end when we are."""
    child = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        code = child.wait()
    except Interrupted as interrupted:
        # A Ctrl-C in the terminal has reached the command too: a second one would cut its clean-up short.
        if interrupted.number != signal.SIGINT:
            child.send_signal(interrupted.number)
        code = _ended(child)
    return code if code >= 0 else 128 - code


def _ended(child: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + GRACE_S
    while True:
        try:
            return child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except Interrupted:
            continue
        except subprocess.TimeoutExpired:
            child.terminate() if time.monotonic() < deadline + GRACE_S else child.kill()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("run", "run a command with the servers' URLs in its environment"),
        ("up", "start the servers, print their URLs, wait for Ctrl-C"),
        ("install", "only find or install the servers' programs"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--only", type=_names, default=list(locate.NAMES), metavar="NAME,...")
        action.add_argument("--rabbitmq4", action="store_true", help="RabbitMQ 4, whatever this machine has")
        action.set_defaults(copies=1, clients=False)
        if name != "up":
            action.add_argument("--clients", action="store_true", help="curl, git, npm and a browser too")
        if name == "run":
            action.add_argument("--copies", type=_copies, metavar="N", help="so many of each, or `auto`")
            action.add_argument("command", nargs="+", metavar="-- COMMAND")
    return parser


def _copies(text: str) -> int:
    count = stack.copies() if text == "auto" else int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least one copy is needed")
    return count


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(locate.NAMES):
        raise argparse.ArgumentTypeError(f"no such server: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
