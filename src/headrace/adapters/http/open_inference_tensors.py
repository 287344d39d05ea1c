"""How do V2 tensors in JSON become columns, and columns tensors?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import msgspec

from headrace.adapters.http.rendering import to_json
from headrace.adapters.open_inference import tensors
from headrace.adapters.open_inference.datatypes import BY_DTYPE
from headrace.adapters.open_inference.outputs import JSON_TEXT, as_array
from headrace.adapters.open_inference.tensors import folded, wrong_size
from headrace.domain.errors import InvalidInput
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs

BASE64: Final[Mapping[str, Any]] = {"content_type": "base64"}


class RequestInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One entry of ``inputs``."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


def to_inputs(given: Sequence[RequestInput], pipeline: Pipeline) -> Inputs:
    """The tensors of a request as columns of nested lists.

    Raises InvalidInput for a shape that does not hold, a datatype that does not fit, and an unknown or repeated name.
    """
    return tensors.to_inputs(given, pipeline, _column)


def _column(tensor: RequestInput, spec: TensorSpec) -> list[Any]:
    """The data of a tensor nested as its shape says; the elements of BYTES as the column wants them."""
    column = _nested(tensor)
    if tensor.datatype != "BYTES" or spec.dtype == "string":
        return column
    coded = (tensor.parameters or {}).get("content_type")
    return [_element(value, tensor.name, spec.dtype, coded) for value in column]


def _nested(tensor: RequestInput) -> list[Any]:
    """The data of a tensor nested as its shape says, be it given so or as one flat list."""
    shape, data = tensor.shape, tensor.data
    flat = not data or not isinstance(data[0], list)
    if flat and len(data) == prod(shape):
        return folded(data, shape)
    if flat or not _has_shape(data, shape):
        raise wrong_size(tensor, f"{len(data)} values were sent" if flat else "nested data of another form was sent")
    return data


def _has_shape(data: list[Any], shape: Sequence[int]) -> bool:
    """Whether lists are nested as *shape* says, down to the elements, which are left to the column's check."""
    if not shape or len(data) != shape[0]:
        return False
    if len(shape) == 1:
        return True
    return all(isinstance(item, list) and _has_shape(item, shape[1:]) for item in data)


def _element(value: Any, name: str, dtype: str, coded: Any) -> Any:
    if isinstance(value, list):
        return [_element(item, name, dtype, coded) for item in value]
    if not isinstance(value, str):
        raise InvalidInput(f"input {name!r} is BYTES: its elements are texts in JSON, not {value!r:.40}")
    if dtype != "bytes":
        return _from_json(value, name)
    if coded == "base64":
        return _from_base64(value, name)
    if value.startswith("{") and isinstance(parsed := _json_or_none(value), dict) and parsed.keys() == {"base64"}:
        return _from_base64(parsed["base64"], name)
    return value.encode()


def _from_base64(value: Any, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidInput(f"input {name!r} is not valid base64", details={"column": name}) from None


def _from_json(value: str, name: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput(
            f"input {name!r} holds no tensor: its BYTES are JSON, and {value[:40]!r} is not", details={"column": name}
        ) from None


def _json_or_none(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def to_output(name: str, column: Column, *, batched: bool) -> dict[str, Any]:
    """A column as an output tensor, its data flat and row by row.

    Bytes are base64 and what is no tensor is JSON, each in BYTES, as the parameter ``content_type`` then says.
    """
    array = as_array(column, batched=batched)
    if (datatype := BY_DTYPE.get(array.dtype)) is not None:
        return {"name": name, "datatype": datatype, "shape": array.shape, "data": array.reshape(-1)}
    values = array.reshape(-1).tolist()
    answer: dict[str, Any] = {"name": name, "datatype": "BYTES", "shape": list(array.shape)}
    if all(isinstance(value, str) for value in values):
        return {**answer, "data": values}
    if all(isinstance(value, bytes) for value in values):
        coded = [base64.b64encode(value).decode("ascii") for value in values]
        return {**answer, "parameters": BASE64, "data": coded}
    return {**answer, "parameters": JSON_TEXT, "data": [to_json(value).decode() for value in values]}
