"""How does ``/docs`` show the OpenAI-compatible calls?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from headrace.adapters.http.openai_columns import embeds, generates
from headrace.adapters.http.schemas import Schema
from headrace.domain.pipeline import Pipeline

TAG: Final = "OpenAI"
_JSON: Final = "application/json"
_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_TOKENS: Final[Schema] = {"type": "array", "items": _WHOLE}
_PROMPT: Final[Schema] = {
    "oneOf": [_TEXT, {"type": "array", "items": _TEXT}, _TOKENS, {"type": "array", "items": _TOKENS}]
}
_FAILURE: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MODEL: Final[Schema] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": _TEXT, "object": {"const": "model"}, "created": _WHOLE, "owned_by": _TEXT},
}
_USAGE: Final[Schema] = {
    "type": "object",
    "required": ["prompt_tokens", "total_tokens"],
    "properties": {"prompt_tokens": _WHOLE, "completion_tokens": _WHOLE, "total_tokens": _WHOLE},
}
_STREAMED: Final[Schema] = {
    "stream": {"type": "boolean", "default": False},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
    "stop": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]},
    "max_tokens": {"type": "integer", "minimum": 1},
}
_MESSAGE: Final[Schema] = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": _TEXT, "content": {"oneOf": [_TEXT, {"type": "array"}, {"type": "null"}]}},
}


def openai_paths(pipelines: Sequence[Pipeline]) -> dict[str, Any]:
    """The calls under ``/v1``, with those of *pipelines* that answer each."""
    embedding = _names(pipeline for pipeline in pipelines if embeds(pipeline))
    writing = _names(pipeline for pipeline in pipelines if generates(pipeline))
    one = {"name": "model", "in": "path", "required": True, "schema": _TEXT}
    return {
        "/v1/models": {"get": _call("Every loaded pipeline", None, _listed(_MODEL))},
        "/v1/models/{model}": {"get": {**_call("One loaded pipeline", None, _MODEL), "parameters": [one]}},
        "/v1/embeddings": {"post": _call("Embed texts or tokens", _embedding_request(embedding), _embeddings())},
        "/v1/completions": {"post": _written("Complete a text", _completion_request(writing), "text_completion")},
        "/v1/chat/completions": {"post": _written("Answer a conversation", _chat_request(writing), "chat.completion")},
    }


def _names(pipelines: Iterable[Pipeline]) -> Schema:
    """A ``model``, which may also be ``name@version`` or ``name@alias``; *pipelines* are shown as examples."""
    names = sorted({pipeline.ref.name for pipeline in pipelines})
    model = {**_TEXT, "description": "name, name@version or name@alias; the default pipeline when absent"}
    return {**model, "examples": names} if names else model


def _embedding_request(model: Schema) -> Schema:
    properties = {
        "model": model,
        "input": _PROMPT,
        "encoding_format": {"enum": ["float", "base64"], "default": "float"},
        "dimensions": {"type": "integer", "minimum": 1},
        "user": _TEXT,
    }
    return {"type": "object", "required": ["input"], "properties": properties}


def _embeddings() -> Schema:
    vector = {"oneOf": [{"type": "array", "items": {"type": "number"}}, {**_TEXT, "contentEncoding": "base64"}]}
    properties = {"object": {"const": "embedding"}, "index": _WHOLE, "embedding": vector}
    listed = _listed({"type": "object", "required": list(properties), "properties": properties})
    listed["required"] = [*listed["required"], "model", "usage"]
    listed["properties"] = {**listed["properties"], "model": _TEXT, "usage": _USAGE}
    return listed


def _completion_request(model: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["prompt"],
        "properties": {"model": model, "prompt": _PROMPT, **_STREAMED},
        "additionalProperties": {"description": "an input of the pipeline"},
    }


def _chat_request(model: Schema) -> Schema:
    messages = {"type": "array", "minItems": 1, "items": _MESSAGE}
    return {
        "type": "object",
        "required": ["messages"],
        "properties": {
            "model": model,
            "messages": messages,
            **_STREAMED,
            "max_completion_tokens": _STREAMED["max_tokens"],
        },
        "additionalProperties": {"description": "an input of the pipeline"},
    }


def _written(summary: str, body: Schema, kind: str) -> dict[str, Any]:
    answer = {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices"],
        "properties": {
            "id": _TEXT,
            "object": {"const": kind},
            "created": _WHOLE,
            "model": _TEXT,
            "choices": {"type": "array", "items": {"type": "object"}},
            "usage": _USAGE,
            "system_fingerprint": _TEXT,
        },
    }
    call = _call(summary, body, answer)
    call["responses"]["200"]["content"]["text/event-stream"] = {"schema": _TEXT}
    return call


def _listed(item: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["object", "data"],
        "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": item}},
    }


def _call(summary: str, body: Schema | None, answer: Schema) -> dict[str, Any]:
    call: dict[str, Any] = {
        "summary": summary,
        "tags": [TAG],
        "responses": {
            "200": {"description": "Success", "content": {_JSON: {"schema": answer}}},
            "default": {"description": "A failure", "content": {_JSON: {"schema": _FAILURE}}},
        },
    }
    if body is not None:
        call["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
    return call
