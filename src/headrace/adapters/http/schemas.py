"""Which JSON does a pipeline take and give? JSON Schema made from its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import GROUPS, NUMBERS, TensorSpec

Schema = dict[str, Any]

ERROR: Final[Schema] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "details": {}},
}
FAILURE: Final[Schema] = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"const": False},
        "error": {**ERROR, "properties": {**ERROR["properties"], "request_id": {"type": "string"}}},
    },
}


def input_schema(pipeline: Pipeline) -> Schema:
    """One row of inputs."""
    return {
        "type": "object",
        "required": [name for name, spec in pipeline.inputs.items() if not spec.optional],
        "properties": {name: column_schema(spec) for name, spec in pipeline.inputs.items()},
        "additionalProperties": False,
    }


def output_schema(pipeline: Pipeline) -> Schema:
    """One row of outputs. Numbers may be null, where the model gave NaN or an infinity."""
    return {
        "type": "object",
        "required": list(pipeline.outputs),
        "properties": {name: column_schema(spec, nullable=True) for name, spec in pipeline.outputs.items()},
    }


def column_schema(spec: TensorSpec, *, nullable: bool = False) -> Schema:
    """One row's value of a column; *nullable* for floats that may be no number."""
    if spec.row_shape is None:
        return {"description": str(spec)}
    schema = _element(spec.dtype, nullable=nullable)
    for size in reversed(spec.row_shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    if spec.optional:
        schema["default"] = spec.default
    return schema


def _element(dtype: str, *, nullable: bool) -> Schema:
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype in GROUPS["integer"] and dtype in NUMBERS:
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    if dtype == "integer":
        return {"type": "integer"}
    if dtype in GROUPS["float"] or dtype in GROUPS:
        return {"type": ["number", "null"]} if nullable else {"type": "number"}
    if dtype == "string":
        return {"type": "string"}
    if dtype == "bytes":
        return {
            "type": "object",
            "required": ["base64"],
            "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
            "additionalProperties": False,
        }
    return {}


def request_schema(pipeline: Pipeline, *, named: bool) -> Schema:
    """The body of a native call; *named* says that the path has named the pipeline."""
    row = input_schema(pipeline)
    properties: Schema = {
        "inputs": {"anyOf": [row, {"type": "array", "items": row}]},
        "version": {"type": "string", "description": "a version or an alias"},
        "model": {"type": "string", "description": "if given, must be the pipeline's model"},
        "options": {"type": "object"},
    }
    if not named:
        properties = {"pipeline": {"type": "string", "enum": [pipeline.ref.name]}, **properties}
    return {
        "title": f"{pipeline.ref}",
        "type": "object",
        "required": ["inputs"],
        "properties": properties,
        "additionalProperties": False,
    }


def answer_schema(pipeline: Pipeline) -> Schema:
    """The body of a successful native call."""
    row = output_schema(pipeline)
    failed = {"type": "object", "required": ["error"], "properties": {"error": ERROR}}
    return success_schema(
        {
            "type": "object",
            "title": f"{pipeline.ref}",
            "required": ["pipeline", "version", "outputs", "cached", "timestamp"],
            "properties": {
                "pipeline": {"type": "string"},
                "version": {"type": "string"},
                "outputs": {"anyOf": [row, {"type": "array", "items": {"anyOf": [row, failed]}}]},
                "cached": {"type": "boolean"},
                "timestamp": {"type": "string", "format": "date-time"},
                "explain": {
                    "type": "object",
                    "properties": {
                        "total_ms": {"type": "number"},
                        "parts": {"type": "object", "additionalProperties": {"type": "number"}},
                    },
                },
            },
        }
    )


def success_schema(data: Schema) -> Schema:
    """The body of any successful native call."""
    return {
        "type": "object",
        "required": ["success", "data", "request_id"],
        "properties": {"success": {"const": True}, "data": data, "request_id": {"type": "string"}},
    }


def shown_examples(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Example rows as one would send them; bytes that are too long to show are left out with their row."""
    return [shown for row in rows if (shown := _sendable(row)) is not None]


MAX_SHOWN: Final = 16_384


def _sendable(row: Mapping[str, Any]) -> dict[str, Any] | None:
    for value in row.values():
        if isinstance(value, bytes) and len(value) > MAX_SHOWN:
            return None
        if isinstance(value, Mapping) and ("file" in value or "url" in value):
            return None
    return dict(row)
