"""SQLite's words for a query's conditions."""

from __future__ import annotations

from services.request_vault.store import conditions

_LITERAL = str.maketrans({"[": "[[]", "?": "[?]", "*": "[*]"})


class Conditions(conditions.Conditions):
    # The plus keeps SQLite from putting a constant into the `status / 100` of an index, which would hide it.
    STATUS = "+status"
    POSITION = "instr"

    def places(self, name: str) -> str:
        return f"w_place IN (SELECT value FROM json_each(:{name}))"

    def status_class(self, hundreds: int) -> str:
        return f"status / 100 = {self.bind(hundreds)}"

    def tag(self, pieces: tuple[str, ...]) -> str:
        return f"EXISTS (SELECT 1 FROM json_each(tags) t WHERE {self.text('t.value', pieces)})"

    def method(self, name: str) -> str:
        """The column compares in any case."""
        return f"method = {self.bind(name)}"

    def pattern(self, column: str, pieces: tuple[str, ...]) -> str:
        # GLOB gives up on a star once what follows it was not found: stars cost no more than their number
        # times the text's length. It sees a text up to its first NUL.
        glob = "*".join(piece.translate(_LITERAL) for piece in pieces)
        return f"{column} GLOB {self.bind(glob)}"
