"""What does ``/docs`` show? The framework's own routes, the plain calls beside them, and each pipeline's schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from headrace.adapters.http.open_inference_schemas import open_inference_paths
from headrace.adapters.http.openai_schemas import openai_paths
from headrace.adapters.http.pipelines import examples_of
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.schemas import (
    FAILURE,
    Schema,
    answer_schema,
    request_schema,
    shown_examples,
    success_schema,
)
from headrace.adapters.http.streams import stream_paths
from headrace.adapters.http.uploads import KINDS
from headrace.domain.pipeline import Pipeline
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference

PREFIX: Final = "/api/v1"
_JSON: Final = "application/json"


class Documentation:
    """The OpenAPI document, made again when other pipelines are loaded."""

    def __init__(self, app: FastAPI, inference: Inference, deployments: Deployments, *, guarded: bool) -> None:
        self._app = app
        self._inference = inference
        self._deployments = deployments
        self._guarded = guarded
        self._made: tuple[object, dict[str, Any]] | None = None

    def current(self) -> dict[str, Any]:
        """The document as it should be now."""
        registry = self._inference.engine.registry
        pipelines = [registry.get(ref).pipeline for ref in registry]
        state = [(pipeline.ref, id(pipeline)) for pipeline in pipelines]
        if self._made is None or self._made[0] != state:
            self._made = (state, self._document(pipelines))
        return self._made[1]

    def _document(self, pipelines: Sequence[Pipeline]) -> dict[str, Any]:
        app = self._app
        document = get_openapi(title=app.title, version=app.version, routes=app.routes, openapi_version="3.1.0")
        document["paths"] = {
            **self._native(pipelines),
            **_predict_files(),
            **document.get("paths", {}),
            **stream_paths(),
            **open_inference_paths(),
            **openai_paths(pipelines),
            **_probes(),
        }
        if self._guarded:
            schemes = {"token": {"type": "http", "scheme": "bearer"}}
            document.setdefault("components", {})["securitySchemes"] = schemes
            document["security"] = [{"token": []}]
        return document

    def _native(self, pipelines: Sequence[Pipeline]) -> dict[str, Any]:
        general = _call(
            "Infer with any pipeline",
            "inference",
            {"anyOf": [request_schema(pipeline, named=False) for pipeline in pipelines]} if pipelines else {},
            {"anyOf": [answer_schema(pipeline) for pipeline in pipelines]} if pipelines else success_schema({}),
        )
        general["parameters"] = _HEADERS
        paths: dict[str, Any] = {f"{PREFIX}/inference": {"post": general}}
        for pipeline in pipelines:
            path = f"{PREFIX}/models/{pipeline.ref.name}/predict"
            paths[path] = {"post": self._own(pipeline)}
        return paths

    def _own(self, pipeline: Pipeline) -> dict[str, Any]:
        """The call of one pipeline; of several versions the last one's schema is shown."""
        body = request_schema(pipeline, named=True)
        own = _call(f"Infer with {pipeline.ref.name}", pipeline.ref.name, body, answer_schema(pipeline))
        own["parameters"] = _HEADERS
        if pipeline.spec.description:
            own["description"] = pipeline.spec.description
        rows = shown_examples(examples_of(self._deployments.workspace, pipeline.spec))
        if rows:
            examples = {f"example {n + 1}": {"value": _sendable({"inputs": row})} for n, row in enumerate(rows)}
            own["requestBody"]["content"][_JSON]["examples"] = examples
        return own


def _sendable(value: Any) -> Any:
    """Plain JSON data: bytes and arrays of an example as they would be sent."""
    import orjson

    return orjson.loads(to_json(value))


_HEADERS: Final[Sequence[Schema]] = (
    {
        "name": "X-Request-ID", "in": "header", "schema": {"type": "string", "maxLength": 128},
        "description": "comes back with the answer",
    },
    {
        "name": "X-Timeout-Ms", "in": "header", "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "how long the caller waits",
    },
    {
        "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255},
        "description": "a repetition with the same key and body gets the first answer",
    },
    {
        "name": "explain", "in": "query", "schema": {"type": "string", "enum": ["0", "1"]},
        "description": "add where the time went",
    },
)  # fmt: skip


def _call(summary: str, tag: str, body: Schema | None, answer: Schema, media: str = _JSON) -> dict[str, Any]:
    call: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "Success", "content": {_JSON: {"schema": answer}}},
            "default": {"description": "A failure", "content": {_JSON: {"schema": FAILURE}}},
        },
    }
    if body is not None:
        call["requestBody"] = {"required": True, "content": {media: {"schema": body}}}
    return call


def _in_path(*names: str) -> list[Schema]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _predict_files() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    choice = {"pipeline": {"type": "string"}, "version": {"type": "string"}}
    one = {"type": "object", "required": ["file"], "properties": {"file": file, **choice}}
    many = {
        "type": "object",
        "required": ["files"],
        "properties": {"files": {"type": "array", "items": file}, **choice},
    }
    answer, form = success_schema({"type": "object"}), "multipart/form-data"
    listed = success_schema({"type": "array", "items": {"type": "object"}})
    paths: dict[str, Any] = {}
    for prefix in (PREFIX, ""):
        for kind in KINDS:
            paths[f"{prefix}/predict/{kind}"] = {"post": _call(f"Infer on one {kind} file", "files", one, answer, form)}
        versioned = _call("Infer on one image with a version", "files", one, answer, form)
        paths[f"{prefix}/predict/image/{{version}}"] = {"post": {**versioned, "parameters": _in_path("version")}}
        paths[f"{prefix}/predict/batch"] = {"post": _call("Infer on several files", "files", many, listed, form)}
        text = paths[f"{prefix}/predict/text"]["post"]["requestBody"]["content"]
        properties = {"text": {"type": "string"}, **choice, "options": {"type": "object"}}
        text[_JSON] = {"schema": {"type": "object", "required": ["text"], "properties": properties}}
    return paths


def _probes() -> dict[str, Any]:
    probes = {
        "/livez": "Whether the process answers",
        "/readyz": "Whether every required pipeline is loaded",
        "/ready": "The same",
        "/health": "Whether the server is well",
    }
    paths = {path: {"get": _call(summary, "health", None, {"type": "object"})} for path, summary in probes.items()}
    text = {"text/plain": {"schema": {"type": "string"}}}
    paths["/metrics"] = {
        "get": {"summary": "Metrics for Prometheus", "tags": ["health"],
                "responses": {"200": {"description": "Success", "content": text}}}
    }  # fmt: skip
    return paths
