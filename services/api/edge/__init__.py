"""The API's HTTP side: `make_edge` puts the generic routes and the named exceptions into one app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from bus.clock import Clock
from bus.ids import Ids
from schemas.operation import Operation
from services.api.config import Config
from services.api.domain.openapi import Described, described, document
from services.api.edge import export, limiting, live
from services.api.edge.asking import Asker, Asks
from services.api.edge.bodies import Bodies
from services.api.edge.calls import Calls
from services.api.edge.cors import Cors
from services.api.edge.documents import Documents
from services.api.edge.exceptions import exceptions
from services.api.edge.gate import Access, Gate
from services.api.edge.limiting import Limiter
from services.api.edge.live import Wakes
from services.api.edge.operations import PREFIX, OperationHandler, Served
from services.api.edge.repeating import Repeating
from services.api.edge.shared import SharedCalls
from services.api.edge.uses import Uses
from services.api.store import Repeats
from services.chassis.host import Shared
from services.chassis.web import make_app


def make_edge(
    contracts: Mapping[str, Iterable[Operation]],
    *,
    bus: Asks,
    access: Access,
    wakes: Wakes,
    uses: Uses,
    shared: Shared,
    repeats: Repeats,
    clock: Clock,
    ids: Ids,
    config: Config,
    version: str,
) -> web.Application:
    """The whole app. contracts: the OPERATIONS of each service, by its name. Raises ValueError when an
    operation does not fit its ask, or two have the same route."""
    app = make_app("api", clock=clock, ids=ids, max_body_bytes=config.max_body_bytes)
    app.on_shutdown.append(wakes.on_shutdown)
    app.on_response_prepare.append(limiting.tell)
    Cors(config.cors_origins).install(app)
    gate = Gate(access, clock, Limiter(shared.limits, clock, config), uses)
    asker = Asker(bus, config.ask_timeout_s)
    bodies = Bodies(asker)
    limit_bytes = config.read_limit_bytes
    calls = Calls(gate, asker, bodies, read_limit_bytes=limit_bytes, version=version)
    links = SharedCalls(gate, asker, bodies, shared.secrets, read_limit_bytes=limit_bytes, version=version)
    following = live.Live(gate, asker, wakes, clock, heartbeat_s=config.heartbeat_s)
    exporting = export.Export(gate, asker, calls, version)
    repeating = Repeating(repeats, shared.secrets, clock, ids)
    generic = [
        OperationHandler(Served(service, operation), gate, asker, repeating, shared.secrets)
        for service, operations in contracts.items()
        for operation in operations
    ]
    routes = [
        *(described(handler.served.service, handler.binding) for handler in generic),
        *exceptions(following, exporting),
    ]
    _check_routes(routes)
    documents = Documents(document(routes, version=version, prefix=PREFIX), gate)
    get = app.router.add_get  # which answers HEAD too
    get(f"{PREFIX}/calls/{{id}}", calls.get)
    get(f"{PREFIX}/shared/{{share}}", links.get)
    get(PREFIX + live.OPERATION.path, following.follow)
    get(PREFIX + export.OPERATION.path, exporting.archive)
    get(f"{PREFIX}/openapi.json", documents.openapi)
    get(f"{PREFIX}/docs", documents.docs)
    for handler in generic:
        operation = handler.served.operation
        if operation.method == "GET":
            get(PREFIX + operation.path, handler.answer)
        else:
            app.router.add_route(operation.method, PREFIX + operation.path, handler.answer)
    return app


def _check_routes(routes: Iterable[Described]) -> None:
    seen: dict[Any, str] = {}
    for route in routes:
        other = seen.setdefault((route.method, route.path), route.operation_id)
        if other != route.operation_id:
            raise ValueError(f"{route.method} {route.path} is both {other} and {route.operation_id}")
