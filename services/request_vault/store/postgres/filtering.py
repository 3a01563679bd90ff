"""PostgreSQL's words for a query's conditions. None has the form of an index: which one is walked, `walking`
chooses."""

from __future__ import annotations

from services.request_vault.store import conditions
from services.request_vault.store.postgres.rows import stored

_LITERAL = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


class Conditions(conditions.Conditions):
    POSITION = "strpos"

    def places(self, name: str) -> str:
        return f"c.place = ANY (:{name})"

    def status_class(self, hundreds: int) -> str:
        least = hundreds * 100
        return f"status >= {self.bind(least)} AND status < {self.bind(least + 100)}"

    def tag(self, pieces: tuple[str, ...]) -> str:
        return f"EXISTS (SELECT FROM unnest(tags) t (tag) WHERE {self.text('t.tag', pieces)})"

    def method(self, name: str) -> str:
        return f'lower(method) = lower({self.bind(stored(name))} COLLATE "C")'

    def pattern(self, column: str, pieces: tuple[str, ...]) -> str:
        # LIKE gives up on a star once what follows it was not found: stars cost no more than their number
        # times the text's length.
        like = "%".join(stored(piece).translate(_LITERAL) for piece in pieces)
        return f"{column} LIKE {self.bind(like)}"

    def stored(self, text: str) -> str:
        return stored(text)
