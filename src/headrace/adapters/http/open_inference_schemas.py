"""How does ``/docs`` show the calls of the Open Inference Protocol?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.adapters.http.schemas import Schema

TAG: Final = "Open Inference Protocol V2"
_JSON: Final = "application/json"
_OCTETS: Final = "application/octet-stream"
_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "boolean"}
_OBJECT: Final[Schema] = {"type": "object"}
_PARAMETERS: Final[Schema] = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_FAILURE: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": _TEXT, "code": _TEXT, "request_id": _TEXT},
}
_TENSOR: Final[Schema] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": _TEXT,
        "parameters": _PARAMETERS,
        "data": {"type": "array", "description": "flat or nested; absent where binary_data_size says how many bytes"},
    },
}
_WANTED: Final[Schema] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _TEXT, "parameters": _PARAMETERS},
}
_QUESTION: Final[Schema] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _TEXT,
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _WANTED},
    },
}
_ANSWER: Final[Schema] = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_PROMPT: Final[Schema] = {
    "type": "object",
    "required": ["text_input"],
    "properties": {"text_input": _TEXT, "id": _TEXT, "parameters": _PARAMETERS},
    "additionalProperties": {"description": "an input of the pipeline"},
}
_WRITTEN: Final[Schema] = {
    "type": "object",
    "required": ["model_name", "model_version", "text_output"],
    "properties": {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "text_output": _TEXT},
}
_CHANGE: Final[Schema] = {"type": "object", "properties": {"parameters": _PARAMETERS}}
_INDEX: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT},
    },
}
_STATISTICS: Final[Schema] = {"type": "object", "properties": {"model_stats": {"type": "array", "items": _OBJECT}}}


def open_inference_paths() -> dict[str, Any]:
    """The calls under ``/v2``."""
    paths: dict[str, Any] = {
        "/v2": {"get": _call("The server and its extensions", _OBJECT)},
        "/v2/health/live": {"get": _call("Whether the server is alive", _OBJECT)},
        "/v2/health/ready": {"get": _call("Whether every required pipeline is loaded", _OBJECT)},
        "/v2/models/stats": {"get": _call("Statistics of every loaded pipeline", _STATISTICS)},
        "/v2/repository/index": {
            "post": _call("What is declared, and its state", _INDEX, {"type": "object", "properties": {"ready": _FLAG}})
        },
    }
    for verb, summary in (("load", "Load what is declared and not loaded"), ("unload", "Take out of service")):
        path = f"/v2/repository/models/{{name}}/{verb}"
        paths[path] = {"post": {**_call(summary, _OBJECT, _CHANGE), "parameters": _in_path("name")}}
    for version, names in (("", ("name",)), ("/versions/{version}", ("name", "version"))):
        paths.update(_of_model(f"/v2/models/{{name}}{version}", _in_path(*names)))
    return paths


def _of_model(path: str, parameters: Sequence[Schema]) -> dict[str, Any]:
    stream = _call("Generate text, in server-sent events", _WRITTEN, _PROMPT)
    stream["responses"]["200"]["content"] = {"text/event-stream": {"schema": _TEXT}}
    calls: Mapping[str, tuple[str, dict[str, Any]]] = {
        "": ("get", _call("Columns of a pipeline", _OBJECT)),
        "/ready": ("get", _call("Whether a pipeline is loaded", _OBJECT)),
        "/stats": ("get", _call("Statistics of a pipeline", _STATISTICS)),
        "/infer": ("post", _infer()),
        "/generate": ("post", _call("Generate text", _WRITTEN, _PROMPT)),
        "/generate_stream": ("post", stream),
    }
    return {path + end: {method: {**call, "parameters": list(parameters)}} for end, (method, call) in calls.items()}


def _infer() -> dict[str, Any]:
    """Inference, whose bodies may also be JSON with raw tensors behind it."""
    call = _call("Infer with tensors", _ANSWER, _QUESTION)
    raw: Schema = {
        "type": "string",
        "format": "binary",
        "description": "the JSON, as long as Inference-Header-Content-Length says, and raw tensors behind it",
    }
    for content in (call["requestBody"]["content"], call["responses"]["200"]["content"]):
        content[_OCTETS] = {"schema": raw}
    return call


def _in_path(*names: str) -> list[Schema]:
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]


def _call(summary: str, answer: Schema, body: Schema | None = None) -> dict[str, Any]:
    """A call, whose failures have the protocol's form."""
    call: dict[str, Any] = {
        "summary": summary,
        "tags": [TAG],
        "responses": {
            "200": {"description": "Success", "content": {_JSON: {"schema": answer}}},
            "default": {"description": "A failure", "content": {_JSON: {"schema": _FAILURE}}},
        },
    }
    if body is not None:
        call["requestBody"] = {"required": body is not _CHANGE, "content": {_JSON: {"schema": body}}}
    return call
