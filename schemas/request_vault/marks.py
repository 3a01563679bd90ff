"""What people say of a call: star, note, tags, a share, and that it is deleted. Each is a decision in the
call's own stream, `vault.call-<id>`.

Subject: the call's id. Key: its bucket. `by`: the id of the token that asked, empty for the system itself.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from bus.message import Ask, Fact

MAX_NOTE_CHARS = 4000
MAX_TAGS = 32
MAX_TAG_CHARS = 64


class CallStarred(Fact, frozen=True):
    TYPE = "vault.call.starred"
    ORDERED = True

    id: str
    bucket: str
    by: str = ""


class CallUnstarred(Fact, frozen=True):
    TYPE = "vault.call.unstarred"
    ORDERED = True

    id: str
    bucket: str
    by: str = ""


class CallAnnotated(Fact, frozen=True):
    """note and tags after the change, whole; tags in order of the alphabet."""

    TYPE = "vault.call.annotated"
    ORDERED = True

    id: str
    bucket: str
    note: str = ""
    tags: tuple[str, ...] = ()
    by: str = ""


class CallShared(Fact, frozen=True):
    """share: what a link names the call by; whoever has it may read this call until `expires_at`."""

    TYPE = "vault.call.shared"
    ORDERED = True

    id: str
    bucket: str
    share: str
    expires_at: datetime | None = None
    by: str = ""


class CallUnshared(Fact, frozen=True):
    TYPE = "vault.call.unshared"
    ORDERED = True

    id: str
    bucket: str
    by: str = ""


class CallDeleted(Fact, frozen=True):
    """Out of sight at once. It can be restored until retention takes it, a day later or more."""

    TYPE = "vault.call.deleted"
    ORDERED = True

    id: str
    bucket: str
    by: str = ""


class CallRestored(Fact, frozen=True):
    TYPE = "vault.call.restored"
    ORDERED = True

    id: str
    bucket: str
    by: str = ""


class CallMarks(msgspec.Struct, frozen=True):
    """share: None when the call is not shared."""

    id: str
    bucket: str
    starred: bool = False
    note: str = ""
    tags: tuple[str, ...] = ()
    share: str | None = None
    share_expires_at: datetime | None = None
    deleted: bool = False


class StarCall(Ask[CallMarks], frozen=True):
    """A call that is starred outlives retention. Refused, as every mark: call-unknown, call-deleted."""

    TYPE = "vault.calls.star"

    command_id: str
    bucket: str
    id: str
    actor: str = ""


class UnstarCall(Ask[CallMarks], frozen=True):
    """Take the star from a call."""

    TYPE = "vault.calls.unstar"

    command_id: str
    bucket: str
    id: str
    actor: str = ""


class AnnotateCall(Ask[CallMarks], frozen=True):
    """Note and tags of a call.

    note: the new note, at most 4000 characters; empty removes it, leaving it out keeps it. tags: the new
    tags, whole; leaving them out keeps them. add_tags, remove_tags: changes to those. A tag has 1 to 64
    characters without blanks, and a call has at most 32. Refused: mark-invalid.
    """

    TYPE = "vault.calls.annotate"

    command_id: str
    bucket: str
    id: str
    note: str | None = None
    tags: tuple[str, ...] | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    actor: str = ""


class ShareCall(Ask[CallMarks], frozen=True):
    """Let whoever has the link read this call. Shared again, it keeps its link and takes the new end.

    expires_at: when the link ends; left out: never. Refused: mark-invalid (an end that has passed).
    """

    TYPE = "vault.calls.share"

    command_id: str
    bucket: str
    id: str
    expires_at: datetime | None = None
    actor: str = ""


class UnshareCall(Ask[CallMarks], frozen=True):
    """End a call's link."""

    TYPE = "vault.calls.unshare"

    command_id: str
    bucket: str
    id: str
    actor: str = ""


class DeleteCall(Ask[CallMarks], frozen=True):
    """Take a call out of sight; RestoreCall brings it back until retention has taken it."""

    TYPE = "vault.calls.delete"

    command_id: str
    bucket: str
    id: str
    actor: str = ""


class RestoreCall(Ask[CallMarks], frozen=True):
    """Bring a deleted call back."""

    TYPE = "vault.calls.restore"

    command_id: str
    bucket: str
    id: str
    actor: str = ""


MARK_FACTS = (
    CallStarred, CallUnstarred, CallAnnotated, CallShared, CallUnshared, CallDeleted, CallRestored,
)  # fmt: skip
