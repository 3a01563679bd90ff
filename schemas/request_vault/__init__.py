"""The request vault's contract: append decisions, read the log, search and read calls, mark, keep and erase
them.

`events` travel as encoded envelopes (`bus.codec.encode_event`), opaque to whoever only passes them on.
Positions are (partition, number). Cursors are opaque text, bound to what they were made for.
"""

from __future__ import annotations

from bus.message import Subscription
from schemas.operation import Operation
from schemas.request_vault.bodies import BODY_PART_BYTES, BodyChunk, BodyPart, ReadBody
from schemas.request_vault.calls import (
    CallPage,
    CallRecord,
    CallsRecorded,
    CallSummary,
    FacetCalls,
    Facets,
    FacetValue,
    GetCall,
    GetShared,
    SearchCalls,
)
from schemas.request_vault.events import EventList, EventTree, LoggedEvent, ReadEvents, TraceEvent
from schemas.request_vault.keeping import (
    KEEPING_FACTS,
    CallsErased,
    CallsExpired,
    EraseBucket,
    EraseCall,
    EraseSubject,
    Erasure,
    ErasureFinished,
    ErasureOrdered,
    GetErasure,
)
from schemas.request_vault.log import (
    ANY_VERSION,
    MAX_KEYS,
    MAX_PAGE,
    NO_STREAM,
    Append,
    AppendAll,
    Appended,
    AppendedAll,
    CategoryHeads,
    DecisionPage,
    EventPage,
    LogPage,
    Position,
    ReadCategory,
    ReadDecisions,
    ReadLog,
    ReadStream,
    Recorded,
    StreamWrite,
    TraceEvents,
)
from schemas.request_vault.marks import (
    MARK_FACTS,
    AnnotateCall,
    CallAnnotated,
    CallDeleted,
    CallMarks,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
    DeleteCall,
    RestoreCall,
    ShareCall,
    StarCall,
    UnshareCall,
    UnstarCall,
)
from schemas.request_vault.stats import (
    BucketUsage,
    GetVaultStats,
    ModelState,
    RebuildModel,
    RetentionRound,
    VaultStats,
)

CATEGORY = "vault"

LOG = Subscription("request_vault", ("#",), max_bytes=4 * 1024**3, pushes_back=True)
BODIES = Subscription("request_vault.bodies", ("#",), exchange="bodies")

FACTS = (BodyChunk, *MARK_FACTS, *KEEPING_FACTS)
_CALLS = "/buckets/{bucket}/calls"
_CALL = _CALLS + "/{id}"
_ERASURES = "/buckets/{bucket}/erasures"

OPERATIONS = (
    Operation(SearchCalls, "GET", _CALLS, "calls:read", "List a bucket's calls", bucket="bucket"),
    Operation(
        FacetCalls,
        "GET",
        _CALLS + "/facets",
        "calls:read",
        "Count a bucket's calls by host, method, status and path template",
        bucket="bucket",
    ),
    Operation(AnnotateCall, "PATCH", _CALL, "calls:write", "Note and tag a call", bucket="bucket"),
    Operation(StarCall, "PUT", _CALL + "/star", "calls:write", "Star a call", bucket="bucket"),
    Operation(UnstarCall, "DELETE", _CALL + "/star", "calls:write", "Unstar a call", bucket="bucket"),
    Operation(ShareCall, "PUT", _CALL + "/share", "calls:write", "Share a call by a link", bucket="bucket"),
    Operation(UnshareCall, "DELETE", _CALL + "/share", "calls:write", "End a call's link", bucket="bucket"),
    Operation(DeleteCall, "DELETE", _CALL, "data:delete", "Delete a call", bucket="bucket"),
    Operation(
        RestoreCall, "POST", _CALL + "/restoration", "data:delete", "Bring a call back", bucket="bucket"
    ),
    Operation(EraseCall, "POST", _CALL + "/erasure", "data:delete", "Erase a call for good", bucket="bucket"),
    Operation(
        EraseSubject, "POST", _ERASURES, "data:delete", "Erase the calls that name somebody", bucket="bucket"
    ),
    Operation(GetErasure, "GET", _ERASURES + "/{id}", "calls:read", "How far an erasure is", bucket="bucket"),
    Operation(ReadEvents, "GET", "/events", "events:read", "Read the log of events"),
    Operation(
        TraceEvent, "GET", "/events/{id}/trace", "events:read", "The events that one event or call caused"
    ),
)
SUBSCRIPTIONS = (LOG, BODIES)

__all__ = [
    "CATEGORY", "LOG", "BODIES", "FACTS", "OPERATIONS", "SUBSCRIPTIONS", "MARK_FACTS", "KEEPING_FACTS",
    "ANY_VERSION", "NO_STREAM", "MAX_KEYS", "MAX_PAGE", "BODY_PART_BYTES", "Position",
    "Append", "Appended", "AppendAll", "AppendedAll", "StreamWrite", "Recorded", "LogPage", "ReadCategory",
    "ReadStream", "DecisionPage", "ReadDecisions", "EventPage", "ReadLog", "TraceEvents", "CategoryHeads",
    "LoggedEvent", "EventList", "EventTree", "ReadEvents", "TraceEvent",
    "CallSummary", "CallPage", "SearchCalls", "CallRecord", "GetCall", "GetShared", "CallsRecorded",
    "FacetCalls", "Facets", "FacetValue",
    "CallMarks", "CallStarred", "CallUnstarred", "CallAnnotated", "CallShared", "CallUnshared", "CallDeleted",
    "CallRestored", "StarCall", "UnstarCall", "AnnotateCall", "ShareCall", "UnshareCall", "DeleteCall",
    "RestoreCall",
    "CallsExpired", "ErasureOrdered", "CallsErased", "ErasureFinished", "Erasure", "EraseCall",
    "EraseSubject", "EraseBucket", "GetErasure",
    "BodyChunk", "BodyPart", "ReadBody",
    "VaultStats", "GetVaultStats", "ModelState", "RebuildModel", "BucketUsage", "RetentionRound",
]  # fmt: skip
