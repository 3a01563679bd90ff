"""What identity decides: pure functions from what is known and what is wanted to facts.

`decide_*` answer the facts to append to one stream (none: nothing is left to do) or raise No, whose slug is
the contract's. `schemas.identity.state` folds those facts. The same command twice decides the same thing or
nothing: see `handlers.deciding` for what was decided in between.
"""
