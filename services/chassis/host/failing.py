"""How a service's failure is told: without the groups that task groups wrap it in."""

from __future__ import annotations


class ServiceFailed(Exception):
    """A service could not start. `cause` is why, without the groups that task groups wrap it in."""

    slug = "service-failed"
    meaning = "A service could not start, for a reason that waiting does not mend."
    remedy: str = "Mend what the message names, then start again."
    exit_code: int = 70

    def __init__(self, service: str, cause: BaseException) -> None:
        super().__init__(f"{service} cannot start: {told(cause)}")
        self.service = service
        self.cause = cause
        self.exit_code = getattr(cause, "exit_code", self.exit_code)
        self.remedy = getattr(cause, "remedy", self.remedy)


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside nested groups, in order; the error itself when it is no group."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


def told(error: BaseException) -> str:
    """An error in one line for people: what its leaves say, each with its type unless it is one of ours."""
    lines = []
    for leaf in leaves(error):
        text = str(leaf)
        lines.append(
            text if text and hasattr(leaf, "slug") else f"{type(leaf).__name__}: {text}".rstrip(": ")
        )
    return "; ".join(dict.fromkeys(lines))


def unless_known(error: BaseException) -> BaseException | None:
    """The error for a traceback, unless all of it are errors of ours, whose line says everything."""
    return None if all(hasattr(leaf, "slug") for leaf in leaves(error)) else error
