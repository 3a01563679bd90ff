"""The verbs that have verbs below them: `buckets create`, `tokens rotate`. Each is an attribute of this
module, made when the command line asks for it; what a verb does is imported when that one is called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

# name -> (what it does without a verb, verb -> (what it does, where it is)).
GROUPS = {
    "buckets": (
        "services.cli.buckets:buckets",
        {
            "create": ("Make a bucket.", "services.cli.bucket_changes:create"),
            "set": ("Change some of a bucket's settings.", "services.cli.bucket_changes:set_"),
            "rotate": ("Give a bucket another gateway address.", "services.cli.bucket_changes:rotate"),
            "guard": ("Let in only clients that send a token.", "services.cli.bucket_changes:guard"),
            "unguard": ("Let in all clients again.", "services.cli.bucket_changes:unguard"),
            "delete": ("Delete a bucket and erase its calls.", "services.cli.bucket_changes:delete"),
        },
    ),
    "tokens": (
        "services.cli.tokens:tokens",
        {
            "create": ("Make a token.", "services.cli.tokens:create"),
            "rotate": ("Give a token a new secret.", "services.cli.tokens:rotate"),
            "rename": ("Rename a token.", "services.cli.tokens:rename"),
            "revoke": ("End a token at once.", "services.cli.tokens:revoke"),
        },
    ),
    "teams": (
        "services.cli.teams:teams",
        {
            "create": ("Create a team.", "services.cli.teams:create"),
            "rename": ("Rename a team.", "services.cli.teams:rename"),
            "delete": ("Delete a team and all that it has.", "services.cli.teams:delete"),
        },
    ),
    "members": (
        "services.cli.members:members",
        {
            "add": ("Make somebody a member.", "services.cli.members:add"),
            "role": ("Give a member another role.", "services.cli.members:role"),
            "remove": ("Take a member out of the team.", "services.cli.members:remove"),
            "invite": ("Make a code with which a member sets a password.", "services.cli.members:invite"),
        },
    ),
}


def __getattr__(name: str) -> App:
    if name not in GROUPS:
        raise AttributeError(name)
    from cyclopts import App, Parameter

    first, verbs = GROUPS[name]
    module, _, attribute = first.partition(":")
    made = App(name=name, help_format="plaintext", default_parameter=Parameter(negative=()))
    made.default(getattr(import_module(module), attribute))
    for order, (verb, (purpose, place)) in enumerate(verbs.items()):
        made.command(place, name=verb, help=purpose, sort_key=order)
    return made
