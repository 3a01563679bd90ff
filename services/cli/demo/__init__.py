"""`trunkline demo`: the whole thing on real calls in half a minute, in a folder that is removed afterwards.

story.py     what happens, in order, and what is said about it
traffic.py   the calls that are sent: every kind that one meets
stage.py     a running installation: `trunkline up` in a process of its own, which can be killed
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    keep: Annotated[
        bool, Parameter(name="--keep", help="Keep the data folder, and say where it is.")
    ] = False,
) -> int:
    """Show the whole thing on real calls in half a minute."""
    from services.chassis.host import run_loop
    from services.cli.demo.story import tell

    return run_loop(tell(keep=keep))
