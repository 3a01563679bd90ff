"""The text index: which calls hold which words. A database of its own beside the log (`vault.text.db`), built
behind it and never needed to open it: whatever is wrong with the file, it is built anew.

Calls are in shards, FTS5 tables of up to SHARD_CALLS calls each, by place. A token carries the number of
its bucket (`3=stock`), so that a phrase is looked up in its bucket only, whatever the others hold. FTS5 keeps
no text of its own here, and calls that are gone are not taken out of their shard: it is built anew from the
log, and the old one dropped with all that stood in it. So is the whole index, shard by shard, while the old
ones answer.
"""

from __future__ import annotations

from services.request_vault.store.sqlite.text.index import TEXT, TextIndex

__all__ = ["TEXT", "TextIndex"]
