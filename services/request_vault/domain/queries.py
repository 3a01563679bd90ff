"""A query that a person typed, joined to the plain filters of a search.

Pure. What every call that is found must be, and a plain filter can say, becomes that filter: engines have
indices for those. The rest stays a tree, which engines check call by call.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bus.errors import Refused
from services.calls import query as language
from services.calls.query import Compared, Is, Not, Started, StatusClass, Term, Text, Words
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us


def narrowed(plain: CallQuery, text: str, now: datetime) -> CallQuery:
    """The search for what both `plain` and the query ask for. Raises Refused("query-invalid"), pointing at
    the character (`q, character 8: ...`)."""
    try:
        tree = language.parse(text, now)
    except language.QueryInvalid as error:
        raise Refused("query-invalid", f"q, {error}") from error
    found = plain
    rest: list[Term] = []
    for term in tree.terms if isinstance(tree, language.AllOf) else (tree,):
        filters = _as_filters(term, found)
        if filters is None:
            rest.append(term)
        else:
            found = msgspec.structs.replace(found, **filters)
    return msgspec.structs.replace(found, where=language.all_of(rest)) if rest else found


def asks_for_words(query: CallQuery) -> bool:
    """Whether the search looks into the text index."""
    return query.where is not None and any(
        isinstance(term, Words) and term.scope != "note" for term in language.within(query.where)
    )


def _as_filters(term: Term, so_far: CallQuery) -> dict[str, Any] | None:
    """The term as plain filters; None when none says the same or theirs is taken."""
    match term:
        case Started("since", at):
            return {"since_us": max(to_us(at), to_us(at) if so_far.since_us is None else so_far.since_us)}
        case Started("before", at):
            return {"before_us": min(to_us(at), to_us(at) if so_far.before_us is None else so_far.before_us)}
        case Text("method", (method,)) if so_far.method is None:
            return {"method": method}
        case Text("host", (host,)) if so_far.host is None:
            return {"host": host}
        case Text("path", (prefix, "")) if so_far.path is None:
            return {"path": prefix} if prefix else {}
        case StatusClass(hundreds) if so_far.status_class is None:
            return {"status_class": hundreds}
        case Compared("status", "", status) if so_far.status_class is None:
            return {"status": status, "status_class": status // 100}
        case Text("error", (slug,)) if so_far.error is not False and so_far.error_slug is None:
            return {"error_slug": slug}
        case Is("error") if so_far.error is None:
            return {"error": True}
        case Not(Is("error")) if so_far.error is None and so_far.error_slug is None:
            return {"error": False}
    return None
