"""What is wrong with a bucket's redaction settings."""

from __future__ import annotations


class InvalidRule(ValueError):
    """rule: the rule at fault, as a person finds it in the settings. why: what is wrong with it."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(f"{rule}: {why}")
        self.rule = rule
        self.why = why
