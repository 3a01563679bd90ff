"""The routes that are no operations, as the document tells them: streams, bodies, files and links."""

from __future__ import annotations

import msgspec

from services.api.domain.openapi import Described, described
from services.api.domain.sharing import SharedView
from services.api.domain.view import CallView
from services.api.edge.bodies import VAULT
from services.api.edge.export import Export
from services.api.edge.live import Live

_TEXT = {"type": "string"}
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}
_OTHER_JSON = {"description": "With `as=har`, HAR 1.2; with `raw`, whatever JSON was captured."}
_OTHER_FORMS = (("application/json", _OTHER_JSON), ("text/plain", _TEXT), ("*/*", _BYTES))
_FORM_PARAMETERS = (
    {
        "name": "raw",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "enum": ["request", "response"]},
    },
    {
        "name": "as",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "enum": ["curl", "python", "har"]},
    },
)


def exceptions(following: Live, exporting: Export) -> list[Described]:
    """Each of them."""
    newest = {
        "name": "limit",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 1},
        "description": "only the newest so many; all that match unless given.",
    }
    return [
        Described(
            operation_id="getCall",
            method="GET",
            path="/calls/{id}",
            tag=VAULT,
            summary="One call, its bodies decoded for reading",
            description="With `raw`, the captured bytes of one body as they travelled, content codings "
            "untouched (`Trunkline-Content-Encoding` names them). With `as`, a snippet that sends the call "
            "again, or a HAR archive of this one call.",
            scope="calls:read",
            parameters=({"name": "id", "in": "path", "required": True, "schema": _TEXT}, *_FORM_PARAMETERS),
            answers=(
                ("application/json", CallView),
                ("application/json", _OTHER_JSON),
                ("text/plain", _TEXT),
                ("*/*", _BYTES),
            ),
            refused=("call-unknown", "body-damaged"),
        ),
        Described(
            operation_id="getSharedCall",
            method="GET",
            path="/shared/{share}",
            tag=VAULT,
            summary="A call that is shared by a link",
            description="For everybody who has the link; `share` is in the answer to PUT .../share. Secrets "
            "are masked whatever the bucket's settings were, and nothing tells where the call came from. "
            "`raw` and `as` as in /calls/{id}.",
            scope="public",
            parameters=(
                {"name": "share", "in": "path", "required": True, "schema": _TEXT},
                *_FORM_PARAMETERS,
            ),
            answers=(
                ("application/json", SharedView),
                ("application/json", _OTHER_JSON),
                ("text/plain", _TEXT),
                ("*/*", _BYTES),
            ),
            refused=("share-unknown",),
        ),
        msgspec.structs.replace(
            described(VAULT, following.binding),
            operation_id="followCalls",
            description="Events `call`, whose data is the call as in the list. `Last-Event-ID`, or `after`, "
            "goes on behind a position; else the stream begins with the next call. Quiet streams carry a "
            "comment now and then. It ends when the token or the bucket does.",
            parameters=({"name": "Last-Event-ID", "in": "header", "required": False, "schema": _TEXT},),
            answers=(("text/event-stream", _TEXT),),
        ),
        msgspec.structs.replace(
            described(VAULT, exporting.binding),
            operation_id="exportCalls",
            description="The filters of the list; all calls that match, or the newest `limit`.",
            parameters=(newest,),
            answers=(("application/json", {"type": "object", "description": "HAR 1.2"}),),
        ),
        Described(
            operation_id="getOpenapi",
            method="GET",
            path="/openapi.json",
            tag="api",
            summary="This API as an OpenAPI 3.1 document",
            scope="public",
            answers=(("application/json", {"type": "object"}),),
        ),
        Described(
            operation_id="getDocs",
            method="GET",
            path="/docs",
            tag="api",
            summary="This API as a page for people",
            scope="public",
            answers=(("text/html", _TEXT),),
        ),
    ]
