"""Identity's contract: teams and members, buckets, tokens, people who sign in, and the audit of it all.

Everything is decided by appending to the vault's log: category `identity`, which a follower reads; streams
`identity.team-<id>`, `identity.bucket-<key>`, `identity.token-<id>` and `identity.person-<id>`. An event's
key is the bucket's where one is concerned, else `_`. `by` says who did it: a token's id or a person's, empty
for a caller on the bus. `state` folds the facts.
"""

from __future__ import annotations

from bus.message import Subscription
from schemas.identity.audit import AuditEntry, AuditPage, ReadAudit
from schemas.identity.buckets import (
    DEFAULT_BODY_CAP_BYTES,
    DEFAULT_OVERLAP_S,
    MAX_BODY_CAP_BYTES,
    MAX_OVERLAP_S,
    Bucket,
    BucketAuth,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    BucketGuarded,
    BucketList,
    BucketRekeyed,
    BucketSettings,
    CaptureMode,
    DeleteBucket,
    FormerAddress,
    GetBucket,
    ListBuckets,
    PatchBucket,
    PutBucket,
    Redaction,
    RedactionMode,
    RemoveBucketAuth,
    Retention,
    RotateBucketKey,
    SetBucketAuth,
)
from schemas.identity.people import (
    MAX_PASSWORD_CHARS,
    MIN_PASSWORD_CHARS,
    SESSION_S,
    AcceptInvitation,
    Caller,
    ChangePassword,
    CloseSession,
    GetCaller,
    OpenSession,
    PasswordRehashed,
    PasswordSet,
    PersonInvited,
    Session,
    SessionClosed,
    SessionOpened,
    TeamJoined,
)
from schemas.identity.teams import (
    INVITATION_S,
    DeleteTeam,
    GetTeam,
    Invitation,
    InviteMember,
    ListMembers,
    ListTeams,
    Member,
    MemberAdded,
    MemberChanged,
    MemberList,
    MemberRemoved,
    PutMember,
    PutTeam,
    RemoveMember,
    RenameTeam,
    Team,
    TeamCreated,
    TeamDeleted,
    TeamList,
    TeamRenamed,
)
from schemas.identity.tokens import (
    CreateToken,
    GetToken,
    ListTokens,
    RenameToken,
    RevokeToken,
    RotateToken,
    Token,
    TokenCreated,
    TokenList,
    TokenRenamed,
    TokenRevoked,
    TokenRotated,
)
from schemas.operation import Operation

CATEGORY = "identity"

ENDINGS = Subscription(
    "identity.endings",
    (f"{BucketDeleted.TYPE}.#", f"{TeamDeleted.TYPE}.#", f"{MemberRemoved.TYPE}.#"),
)

TEAM_FACTS = (TeamCreated, TeamRenamed, TeamDeleted, MemberAdded, MemberChanged, MemberRemoved)
BUCKET_FACTS = (BucketCreated, BucketChanged, BucketRekeyed, BucketGuarded, BucketDeleted)
TOKEN_FACTS = (TokenCreated, TokenRenamed, TokenRotated, TokenRevoked)
PERSON_FACTS = (PersonInvited, PasswordSet, PasswordRehashed, TeamJoined, SessionOpened, SessionClosed)
FACTS = (*TEAM_FACTS, *BUCKET_FACTS, *TOKEN_FACTS, *PERSON_FACTS)

_BUCKET = "/buckets/{key}"
_TEAM = "/teams/{id}"
_MEMBER = "/teams/{id}/members/{email}"
_TOKEN = "/tokens/{id}"

OPERATIONS = (
    Operation(GetCaller, "GET", "/caller", "signed-in", "Who the token is, and what it may do"),
    Operation(OpenSession, "POST", "/sessions", "public", "Sign in"),
    Operation(CloseSession, "DELETE", "/sessions/current", "signed-in", "Sign out"),
    Operation(ChangePassword, "PUT", "/password", "signed-in", "Change the password"),
    Operation(AcceptInvitation, "POST", "/invitations/accept", "public", "Set a password and sign in"),
    Operation(ListTeams, "GET", "/teams", "members:read", "List the teams"),
    Operation(GetTeam, "GET", _TEAM, "members:read", "One team"),
    Operation(PutTeam, "PUT", _TEAM, "installation", "Create or rename a team"),
    Operation(RenameTeam, "PATCH", _TEAM, "members:write", "Rename the own team"),
    Operation(DeleteTeam, "DELETE", _TEAM, "data:delete", "Delete a team and all that it has"),
    Operation(ReadAudit, "GET", "/teams/{id}/audit", "audit:read", "Who changed what"),
    Operation(ListMembers, "GET", "/teams/{id}/members", "members:read", "List the members of a team"),
    Operation(PutMember, "PUT", _MEMBER, "members:write", "Add a member, or change the role"),
    Operation(RemoveMember, "DELETE", _MEMBER, "members:write", "Remove a member"),
    Operation(InviteMember, "POST", _MEMBER + "/invitation", "members:write", "Let a member set a password"),
    Operation(ListTokens, "GET", "/tokens", "tokens:read", "List the tokens"),
    Operation(CreateToken, "POST", "/tokens", "tokens:write", "Make a token", hidden=("sha256",)),
    Operation(GetToken, "GET", _TOKEN, "tokens:read", "One token"),
    Operation(RenameToken, "PATCH", _TOKEN, "tokens:write", "Rename a token"),
    Operation(RotateToken, "POST", _TOKEN + "/rotation", "tokens:write", "Give a token a new secret"),
    Operation(RevokeToken, "DELETE", _TOKEN, "tokens:write", "Revoke a token"),
    Operation(ListBuckets, "GET", "/buckets", "buckets:read", "List the buckets"),
    # Identity itself says whose it is: the past of a bucket outlives it, and the edge knows living ones only.
    Operation(GetBucket, "GET", _BUCKET, "buckets:read", "One bucket, as it is or was"),
    Operation(
        PutBucket, "PUT", _BUCKET, "buckets:write", "Create a bucket or change its settings", bucket="key"
    ),
    Operation(PatchBucket, "PATCH", _BUCKET, "buckets:write", "Change some of its settings", bucket="key"),
    Operation(
        DeleteBucket, "DELETE", _BUCKET, "data:delete", "Delete a bucket and erase its calls", bucket="key"
    ),
    Operation(
        RotateBucketKey,
        "POST",
        _BUCKET + "/address",
        "tokens:write",
        "Give a bucket another gateway address",
        bucket="key",
    ),
    Operation(
        SetBucketAuth,
        "POST",
        _BUCKET + "/auth-token",
        "tokens:write",
        "Let in only clients with a token",
        bucket="key",
    ),
    Operation(
        RemoveBucketAuth,
        "DELETE",
        _BUCKET + "/auth-token",
        "tokens:write",
        "Let in all clients again",
        bucket="key",
    ),
)
SUBSCRIPTIONS: tuple[Subscription, ...] = (ENDINGS,)

__all__ = [
    "CATEGORY", "ENDINGS", "FACTS", "OPERATIONS", "SUBSCRIPTIONS", "TEAM_FACTS", "BUCKET_FACTS",
    "TOKEN_FACTS", "PERSON_FACTS", "DEFAULT_BODY_CAP_BYTES", "MAX_BODY_CAP_BYTES", "DEFAULT_OVERLAP_S",
    "MAX_OVERLAP_S", "INVITATION_S", "SESSION_S", "MIN_PASSWORD_CHARS", "MAX_PASSWORD_CHARS",
    "AuditEntry", "AuditPage", "ReadAudit",
    "Bucket", "BucketAuth", "BucketChanged", "BucketCreated", "BucketDeleted", "BucketGuarded", "BucketList",
    "BucketRekeyed", "BucketSettings", "CaptureMode", "DeleteBucket", "FormerAddress", "GetBucket",
    "ListBuckets", "PatchBucket", "PutBucket", "Redaction", "RedactionMode", "RemoveBucketAuth", "Retention",
    "RotateBucketKey", "SetBucketAuth",
    "AcceptInvitation", "Caller", "ChangePassword", "CloseSession", "GetCaller", "OpenSession",
    "PasswordRehashed", "PasswordSet", "PersonInvited", "Session", "SessionClosed", "SessionOpened",
    "TeamJoined",
    "DeleteTeam", "GetTeam", "Invitation", "InviteMember", "ListMembers", "ListTeams", "Member",
    "MemberAdded", "MemberChanged", "MemberList", "MemberRemoved", "PutMember", "PutTeam", "RemoveMember",
    "RenameTeam", "Team", "TeamCreated", "TeamDeleted", "TeamList", "TeamRenamed",
    "CreateToken", "GetToken", "ListTokens", "RenameToken", "RevokeToken", "RotateToken", "Token",
    "TokenCreated", "TokenList", "TokenRenamed", "TokenRevoked", "TokenRotated",
]  # fmt: skip
