"""How do the tensors of V2 requests, in JSON or raw, become columns, and columns the tensors of answers?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, Final

import msgspec

from headrace.adapters.http.body import decode
from headrace.adapters.http.open_inference_numbers import numbers
from headrace.adapters.http.open_inference_requests import LongInput, Question, RequestInput
from headrace.adapters.http.rendering import to_json
from headrace.adapters.open_inference import raw, tensors
from headrace.adapters.open_inference.datatypes import BY_DTYPE
from headrace.adapters.open_inference.outputs import JSON_TEXT, Tensor, as_array, to_tensor
from headrace.adapters.open_inference.tensors import in_shape, wrong_size
from headrace.domain.errors import InvalidInput
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs

LIST: Final = msgspec.json.Decoder(list[Any])
"""Reads data that were left as JSON."""
BASE64: Final[Mapping[str, Any]] = {"content_type": "base64"}


def to_inputs(question: Question, pipeline: Pipeline) -> Inputs:
    """The tensors of a request as columns: arrays of those that came raw, of those in JSON mostly nested lists.

    Raises InvalidInput for a shape that does not hold, a datatype that does not fit, and an unknown or repeated name.
    """
    raws = question.raws
    given: Sequence[RequestInput | LongInput] = question.request.inputs
    if not raws:
        return tensors.to_inputs(given, pipeline, _column)

    def column(tensor: RequestInput | LongInput, spec: TensorSpec) -> Column:
        if tensor.name in raws:
            return raw.column_of(raws[tensor.name], tensor, spec, tensor.parameters)
        return _column(tensor, spec)

    return tensors.to_inputs(given, pipeline, column)


def _column(tensor: RequestInput | LongInput, spec: TensorSpec) -> Column:
    data = tensor.data
    return column_of(bytes(data) if isinstance(data, msgspec.Raw) else data or [], tensor, spec)


def column_of(data: bytes | list[Any], tensor: RequestInput | LongInput, spec: TensorSpec) -> Column:
    """The *data* of a tensor, as JSON or as lists, in its shape; the elements of BYTES as the column wants them."""
    if spec.numeric and tensor.datatype != "FP16":
        quick = numbers(data, spec, tensor.shape) if isinstance(data, bytes) else _one_row(data, tensor.shape)
        if quick is not None:
            return quick
    if isinstance(data, bytes):
        data = decode(data, LIST, ())
    column = _in_shape(tensor, data, spec)
    if tensor.datatype == "FP16":
        raise InvalidInput(
            f"input {tensor.name!r}: FP16 has no form in JSON; send it as binary data, or send FP32",
            details={"column": tensor.name},
        )
    if tensor.datatype != "BYTES" or spec.dtype == "string":
        return column
    coded = (tensor.parameters or {}).get("content_type")
    return [_element(value, tensor.name, spec.dtype, coded) for value in column]


def _one_row(data: list[Any], shape: Sequence[int]) -> list[Any] | None:
    """*data* in lists as one row of numbers has them, which is what most requests are; None for all others."""
    if len(shape) == 2 and shape[0] == 1 and data:
        if type(data[0]) is not list:
            return [data] if len(data) == shape[1] else None
        if len(data) == 1 and len(data[0]) == shape[1]:
            return data
    return None


def _in_shape(tensor: RequestInput | LongInput, data: list[Any], spec: TensorSpec) -> Column:
    """The data of a tensor in its shape, be it given so or as one flat list."""
    shape = tensor.shape
    flat = not data or not isinstance(data[0], list)
    if flat and len(data) == prod(shape):
        return in_shape(data, shape, spec)
    if flat or not _has_shape(data, shape):
        raise wrong_size(tensor, f"{len(data)} values were sent" if flat else "nested data of another form was sent")
    return data


def _has_shape(data: list[Any], shape: Sequence[int]) -> bool:
    """Whether lists are nested as *shape* says, down to the elements, which are left to the column's check."""
    if not shape or len(data) != shape[0]:
        return False
    for axis, size in enumerate(shape[1:], 2):
        if data and not (set(map(type, data)) == {list} and set(map(len, data)) == {size}):
            return False
        data = list(chain.from_iterable(data)) if axis < len(shape) else []
    return True


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


def to_raw_output(name: str, column: Column, *, batched: bool) -> tuple[dict[str, Any], Any]:
    """A column as an output tensor whose data stand behind the JSON, and those data as anything that holds bytes."""
    return raw_tensor(to_tensor(name, column, to_json, batched=batched))


def raw_tensor(tensor: Tensor) -> tuple[dict[str, Any], Any]:
    """A tensor whose data stand behind the JSON, and those data."""
    values = tensor.values
    data = raw.raw_of_elements(values) if isinstance(values, list) else raw.raw_of(values)
    size = len(data) if isinstance(data, bytes) else data.nbytes
    return _described(tensor, {**(tensor.parameters or {}), "binary_data_size": size}), data


def json_tensor(tensor: Tensor) -> dict[str, Any]:
    """A tensor of texts with its data in the JSON."""
    return {**_described(tensor, tensor.parameters), "data": [value.decode() for value in tensor.values]}


def _described(tensor: Tensor, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    told = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    return {**told, "parameters": parameters} if parameters else told
