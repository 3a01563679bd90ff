"""The API's HTTP side: `make_edge` puts the generic routes and the named exceptions into one app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from bus.clock import Clock
from bus.ids import Ids
from schemas.operation import Operation
from services.api.config import Config
from services.api.domain.openapi import Described, described, document
from services.api.domain.view import CallView
from services.api.edge import export, live
from services.api.edge.asking import Asker, Asks
from services.api.edge.calls import VAULT, Calls
from services.api.edge.documents import Documents
from services.api.edge.gate import Access, Gate
from services.api.edge.live import Wakes
from services.api.edge.operations import PREFIX, OperationHandler, Served
from services.chassis.web import make_app

_TEXT = {"type": "string"}
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}


def make_edge(
    contracts: Mapping[str, Iterable[Operation]],
    *,
    bus: Asks,
    access: Access,
    wakes: Wakes,
    clock: Clock,
    ids: Ids,
    config: Config,
    version: str,
) -> web.Application:
    """The whole app. contracts: the OPERATIONS of each service, by its name. Raises ValueError when an
    operation does not fit its ask, or two have the same route."""
    app = make_app("api", clock=clock, ids=ids, max_body_bytes=config.max_body_bytes)
    app.on_shutdown.append(wakes.on_shutdown)
    gate = Gate(access, clock)
    asker = Asker(bus, config.ask_timeout_s)
    calls = Calls(gate, asker, read_limit_bytes=config.read_limit_bytes, version=version)
    following = live.Live(gate, asker, wakes, clock, heartbeat_s=config.heartbeat_s)
    exporting = export.Export(gate, asker, calls, version)
    generic = [
        OperationHandler(Served(service, operation), gate, asker, ids)
        for service, operations in contracts.items()
        for operation in operations
    ]
    routes = [
        *(described(handler.served.service, handler.binding) for handler in generic),
        *_exceptions(following, exporting),
    ]
    _check_routes(routes)
    documents = Documents(document(routes, version=version, prefix=PREFIX))
    add = app.router.add_route
    get = app.router.add_get  # which answers HEAD too
    get(f"{PREFIX}/calls/{{id}}", calls.get)
    get(PREFIX + live.OPERATION.path, following.follow)
    get(PREFIX + export.OPERATION.path, exporting.archive)
    get(f"{PREFIX}/openapi.json", documents.openapi)
    get(f"{PREFIX}/docs", documents.docs)
    for handler in generic:
        operation = handler.served.operation
        if operation.method == "GET":
            get(PREFIX + operation.path, handler.answer)
        else:
            add(operation.method, PREFIX + operation.path, handler.answer)
    return app


def _exceptions(following: live.Live, exporting: export.Export) -> list[Described]:
    """What is not an operation: streams, bodies and files."""
    one_of = {"type": "string", "enum": ["request", "response"]}
    forms = {"type": "string", "enum": ["curl", "python", "har"]}
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
            parameters=(
                {"name": "id", "in": "path", "required": True, "schema": _TEXT},
                {"name": "raw", "in": "query", "required": False, "schema": one_of},
                {"name": "as", "in": "query", "required": False, "schema": forms},
            ),
            answers=(("application/json", CallView), ("text/plain", _TEXT), ("*/*", _BYTES)),
        ),
        msgspec.structs.replace(
            described(VAULT, following.binding),
            operation_id="followCalls",
            description="Events `call`, whose data is the call as in the list. `Last-Event-ID`, or `after`, "
            "goes on behind a position; else the stream begins with the next call. Quiet streams carry a "
            "comment now and then.",
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
            answers=(("application/json", {"type": "object"}),),
        ),
        Described(
            operation_id="getDocs",
            method="GET",
            path="/docs",
            tag="api",
            summary="This API as a page for people",
            answers=(("text/html", _TEXT),),
        ),
    ]


def _check_routes(routes: Iterable[Described]) -> None:
    seen: dict[Any, str] = {}
    for route in routes:
        other = seen.setdefault((route.method, route.path), route.operation_id)
        if other != route.operation_id:
            raise ValueError(f"{route.method} {route.path} is both {other} and {route.operation_id}")
