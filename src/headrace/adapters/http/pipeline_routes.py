"""``/api/v1/routes``: how names become versions, and changing that while the server runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.call import Call
from headrace.adapters.http.framework import call_of
from headrace.adapters.http.replies import FAILURES, reply
from headrace.core.config import Entry, ListNode, MapNode, Node, Place, ScalarNode
from headrace.core.decoding import Decoder
from headrace.domain.errors import InvalidRequest
from headrace.domain.spec import RouteSpec
from headrace.services.context import ANYBODY
from headrace.services.routes import Routes, RouteState

_BODY: Final = msgspec.json.Decoder(dict[str, Any])
_NOWHERE: Final = Place(Path("body"), 0)
_VERSIONS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "default": {"type": ["string", "null"]},
        "aliases": _VERSIONS,
        "split": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
        "sticky": {"type": ["string", "null"]},
        "match": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["header", "version"],
                "properties": {"header": _VERSIONS, "version": {"type": "string"}},
            },
        },
        "shadow": {"type": ["string", "null"]},
    },
}
_GIVEN: Final = {"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}}


def routes_router(routes: Routes, max_body: int) -> APIRouter:
    """The routes of this resource."""
    router = APIRouter(prefix="/api/v1/routes", tags=["routes"], responses=FAILURES)

    @router.get("", summary="All routes, from files and set at run time")
    async def list_routes(request: Request) -> Response:
        return reply(request, {"routes": [shown(one) for one in routes.all()]})

    @router.get("/{name}", summary="How a name becomes a version")
    async def show_route(request: Request, name: str) -> Response:
        return reply(request, shown(routes.show(name)))

    @router.put("/{name}", summary="Route a name otherwise, until it is reset", openapi_extra=_GIVEN)
    async def set_route(request: Request, name: str) -> Response:
        call = call_of(request.scope)
        require_json(call)
        given = decode(await read_body(call, max_body), _BODY, ())
        return reply(request, shown(await routes.set(_spec(name, given), _who(call))))

    @router.delete("/{name}", summary="Forget what was set: the file counts again")
    async def reset_route(request: Request, name: str) -> Response:
        return reply(request, shown(await routes.reset(name, _who(call_of(request.scope)))))

    return router


def shown(state: RouteState) -> dict[str, Any]:
    """A route as plain data: *source* says whether it was ``set`` at run time, stands in a ``file``, or is none."""
    kept = state.kept
    return {
        "name": state.name,
        "source": "set" if kept is not None else "file" if state.declared is not None else None,
        "route": _fields(state.current),
        "declared": _fields(state.declared),
        "changed_at": None if kept is None else datetime.fromtimestamp(kept.changed_at, UTC),
        "changed_by": None if kept is None else kept.changed_by,
    }


def _fields(spec: RouteSpec | None) -> dict[str, Any] | None:
    if spec is None:
        return None
    return {key: value for key, value in dataclasses.asdict(spec).items() if key != "name"}


def _spec(name: str, given: Mapping[str, Any]) -> RouteSpec:
    """The route in the body, read by the rules of config/routes/<name>.yaml. Raises InvalidRequest."""
    if given.get("name", name) != name:
        raise InvalidRequest(f"the path names the route {name!r:.200} and the body another; leave the name out of it")
    decoder = Decoder({}, remember=lambda *_: None, hide=str)
    spec = decoder.value(_node({**given, "name": name}), RouteSpec, "")
    if isinstance(spec, RouteSpec):
        return spec
    told = [{"key": mistake.key, "message": mistake.message} for mistake in decoder.mistakes]
    message = "; ".join(f"{one['key']}: {one['message']}" for one in told)
    raise InvalidRequest(f"this is no route: {message}", details={"mistakes": told})


def _node(value: Any) -> Node:
    """A JSON value as the configuration reader takes it."""
    if isinstance(value, dict):
        return MapNode(_NOWHERE, {key: Entry(_NOWHERE, _text(key), _node(item)) for key, item in value.items()})
    if isinstance(value, list):
        return ListNode(_NOWHERE, tuple(map(_node, value)))
    if isinstance(value, str):
        return _text(value)
    plain = msgspec.json.encode(value).decode()
    return ScalarNode(_NOWHERE, plain, plain)


def _text(text: str) -> ScalarNode:
    return ScalarNode(_NOWHERE, text, text, plain=False)


def _who(call: Call) -> str:
    """Who changes something, as far as is known: the address, and the name of the key."""
    client = call.scope.get("client")
    where = f"http {client[0]}" if client else "http"
    return where if call.caller is ANYBODY else f"{where} as {call.caller.name}"
