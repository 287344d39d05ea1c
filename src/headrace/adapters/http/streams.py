"""``/api/v1/streams``: the streams and how they stand, and stopping and restarting them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from headrace.adapters.disclosure import public_text
from headrace.adapters.http.replies import FAILURES, reply
from headrace.adapters.http.schemas import FAILURE, Schema, success_schema
from headrace.adapters.http.streams_events import MAX_EVENTS, StreamCalls
from headrace.services.streams import Stream


def streams_router(calls: StreamCalls) -> APIRouter:
    """The routes of this resource."""
    router = APIRouter(prefix="/api/v1/streams", tags=["streams"], responses=FAILURES)

    @router.get("", summary="All streams: state, progress, lag")
    async def list_streams(request: Request) -> Response:
        return reply(request, {"streams": [status(stream) for stream in calls.all()]})

    @router.get("/{name}", summary="One stream: state, progress, lag")
    async def show_stream(request: Request, name: str) -> Response:
        return reply(request, status(calls.find(name)))

    @router.post("/{name}/pause", summary="Read no further; events are still taken in")
    async def pause_stream(request: Request, name: str) -> Response:
        stream = calls.find(name)
        stream.pause()
        return reply(request, status(stream))

    @router.post("/{name}/resume", summary="Go on where it was paused")
    async def resume_stream(request: Request, name: str) -> Response:
        stream = calls.find(name)
        stream.resume()
        return reply(request, status(stream))

    return router


def status(stream: Stream) -> dict[str, Any]:
    """How a stream stands."""
    topic, results, dead_letters = stream.spec.topics
    progress = stream.progress
    return {
        "name": stream.spec.name,
        "pipeline": stream.use.name,
        "version": stream.use.version,
        "state": stream.state,
        "reason": public_text(stream.reason, "model_failure") or None,
        "lag": stream.lag,
        "progress": {
            "read": progress.read,
            "answered": progress.answered,
            "dead_letters": progress.dead,
            "batches": progress.batches,
        },
        "topics": {"events": topic, "results": results, "dead_letters": dead_letters},
        "window": {"max_events": stream.spec.window.max_events, "max_ms": stream.spec.window.max_ms},
    }


_NAME: Final[list[Schema]] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
_EVENT: Final[Schema] = {"type": "object", "description": "the inputs of one row"}
_EVENTS: Final[Schema] = {
    "anyOf": [
        _EVENT,
        {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": MAX_EVENTS},
        {"type": "object", "required": ["events"], "properties": {"events": {"type": "array", "items": _EVENT}}},
    ]
}
_ACCEPTED: Final[Schema] = success_schema(
    {"type": "object", "properties": {"stream": {"type": "string"}, "accepted": {"type": "integer"}}}
)
_FAILED: Final[Schema] = {"description": "A failure", "content": {"application/json": {"schema": FAILURE}}}


def stream_paths() -> dict[str, Any]:
    """The calls of this resource that do not pass the framework, as they are documented."""
    publish = {
        "summary": "Put events into a stream",
        "tags": ["streams"],
        "parameters": _NAME,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _EVENTS}}},
        "responses": {
            "202": {"description": "Taken in", "content": {"application/json": {"schema": _ACCEPTED}}},
            "default": _FAILED,
        },
    }
    results = {
        "summary": "Follow results and dead letters from now on",
        "tags": ["streams"],
        "parameters": _NAME,
        "responses": {
            "200": {
                "description": "Server-sent events: `result` and `dead_letter`",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "default": _FAILED,
        },
    }
    socket = {
        "summary": "WebSocket: events as text frames, and the answer to each",
        "description": "Opened with an upgrade; `docs/how-to/use-a-stream.md` shows it.",
        "tags": ["streams"],
        "parameters": _NAME,
        "responses": {"101": {"description": "It is open"}, "default": _FAILED},
    }
    prefix = "/api/v1/streams/{name}"
    return {
        f"{prefix}/events": {"post": publish},
        f"{prefix}/results": {"get": results},
        f"{prefix}/ws": {"get": socket},
    }
