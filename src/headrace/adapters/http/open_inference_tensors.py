"""How do V2 tensors in JSON become columns, and columns tensors?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from headrace.adapters.http.rendering import to_json
from headrace.domain.errors import InvalidInput, InvalidRequest
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs

DATATYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""Datatypes by dtype; every other column travels as BYTES."""

# Looked up by the dtype itself: NumPy makes its `name` anew each time, which takes longer than all the rest.
_BY_DTYPE: Final[Mapping[Any, str]] = {np.dtype(dtype): name for dtype, name in DATATYPES.items()}
_GROUPS: Final = {"number": "FP64", "float": "FP64", "integer": "INT64"}
_KINDS: Final = {name: np.dtype(dtype).kind for dtype, name in DATATYPES.items()} | {"BYTES": "S"}
_LIMIT: Final = 2**31
"""Elements that a shape may name: far beyond any body, and safe to multiply."""

BASE64: Final[Mapping[str, Any]] = {"content_type": "base64"}
JSON_TEXT: Final[Mapping[str, Any]] = {"content_type": "json"}


class RequestInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One entry of ``inputs``."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


def datatype_of(spec: TensorSpec) -> str:
    """The V2 datatype that a column is announced with."""
    return DATATYPES.get(spec.dtype) or _GROUPS.get(spec.dtype, "BYTES")


def metadata_of(name: str, spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    """A column as V2 model metadata. Without a batch axis the tensor is what elsewhere is one row."""
    shape = spec.shape if spec.shape is not None else (-1,)
    if not batched and spec.shape is not None:
        shape = shape[1:] or (1,)
    return {"name": name, "datatype": datatype_of(spec), "shape": list(shape)}


def to_inputs(given: Sequence[RequestInput], pipeline: Pipeline) -> Inputs:
    """The tensors of a request as columns; lists stay lists until their batch is formed.

    With a batch axis, axis 0 is the row; without one each tensor is the whole of a single row. Raises InvalidInput
    for a shape that does not hold, a datatype that does not fit, and an unknown or repeated name.
    """
    specs = pipeline.inputs
    columns: dict[str, Column] = {}
    rows: int | None = None
    for tensor in given:
        spec = specs.get(tensor.name)
        if spec is None:
            raise InvalidInput(
                f"unknown input {tensor.name!r}{nearest(tensor.name, list(specs))}; "
                f"there are: {', '.join(specs) or 'none'}",
                details={"column": tensor.name},
            )
        if tensor.name in columns:
            raise InvalidInput(f"input {tensor.name!r} is given twice", details={"column": tensor.name})
        _check_datatype(tensor, spec)
        if pipeline.batched and not tensor.shape:
            raise InvalidInput(f"input {tensor.name!r} has no axis, and axis 0 is the row")
        column = _nested(tensor)
        if not pipeline.batched:
            columns[tensor.name] = _values([_whole(column, spec)], tensor, spec)
            rows = 1
            continue
        if rows is not None and tensor.shape[0] != rows:
            raise InvalidInput(
                f"input {tensor.name!r} has {tensor.shape[0]} rows where the one before has {rows}; "
                "axis 0 is the row in all of them"
            )
        rows = tensor.shape[0]
        columns[tensor.name] = _values(column, tensor, spec)
    return Inputs(columns, 1 if rows is None else rows)


def _check_datatype(tensor: RequestInput, spec: TensorSpec) -> None:
    kind = _KINDS.get(tensor.datatype)
    if kind is None:
        known = [*DATATYPES.values(), "BYTES"]
        raise InvalidInput(
            f"input {tensor.name!r} has the datatype {tensor.datatype!r}{nearest(tensor.datatype, known)}; "
            f"there are: {', '.join(known)}"
        )
    wanted = datatype_of(spec)
    if spec.dtype in ("any", "image") or tensor.datatype == wanted:
        return
    if not _fits(kind, _KINDS[wanted]):
        raise InvalidInput(f"input {tensor.name!r} is {wanted}, not {tensor.datatype}", details={"column": tensor.name})


def _fits(kind: str, wanted: str) -> bool:
    """Whether values of one kind may stand for another; their range is checked when the column is made."""
    return kind == wanted or (wanted == "f" and kind in "iu") or (kind + wanted) in ("iu", "ui")


def _nested(tensor: RequestInput) -> list[Any]:
    """The data of a tensor nested as its shape says, be it given so or as one flat list."""
    shape, data = tensor.shape, tensor.data
    if len(shape) > 32 or any(not 0 <= size < _LIMIT for size in shape):
        raise InvalidInput(f"input {tensor.name!r} has the impossible shape {shape!r:.100}")
    flat = not data or not isinstance(data[0], list)
    if flat and len(data) == prod(shape):
        return _folded(data, shape)
    if flat or not _has_shape(data, shape):
        found = f"{len(data)} values" if flat else "nested data of another form"
        raise InvalidInput(
            f"input {tensor.name!r} has the shape {shape}, which is {prod(shape)} values, and {found}",
            details={"column": tensor.name},
        )
    return data


def _folded(data: list[Any], shape: Sequence[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        if size == 0:
            return [[] for _ in range(shape[0])]
        data = [data[start : start + size] for start in range(0, len(data), size)]
    return data


def _has_shape(data: list[Any], shape: Sequence[int]) -> bool:
    """Whether lists are nested as *shape* says, down to the elements, which are left to the column's check."""
    if len(data) != shape[0]:
        return False
    if len(shape) == 1:
        return True
    return all(isinstance(item, list) and _has_shape(item, shape[1:]) for item in data)


def _whole(column: list[Any], spec: TensorSpec) -> Any:
    """The one row of a pipeline without a batch axis; a scalar is a tensor of one value there."""
    if spec.row_shape == () and len(column) == 1:
        return column[0]
    return column


def _values(column: list[Any], tensor: RequestInput, spec: TensorSpec) -> list[Any]:
    """The elements of BYTES as the column wants them; numbers as they are."""
    if tensor.datatype != "BYTES" or spec.dtype == "string":
        return column
    coded = (tensor.parameters or {}).get("content_type")
    return [_element(value, tensor.name, spec.dtype, coded) for value in column]


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
    if not batched:
        column = _unbatched(column)
    array = _as_array(column)
    if (datatype := _BY_DTYPE.get(array.dtype)) is not None:
        return {"name": name, "datatype": datatype, "shape": array.shape, "data": array.reshape(-1)}
    values = array.reshape(-1).tolist()
    answer: dict[str, Any] = {"name": name, "datatype": "BYTES", "shape": list(array.shape)}
    if all(isinstance(value, str) for value in values):
        return {**answer, "data": values}
    if all(isinstance(value, bytes) for value in values):
        coded = [base64.b64encode(value).decode("ascii") for value in values]
        return {**answer, "parameters": BASE64, "data": coded}
    return {**answer, "parameters": JSON_TEXT, "data": [to_json(value).decode() for value in values]}


def _unbatched(column: Column) -> Column:
    """The tensor that is the only row of a pipeline without a batch axis."""
    row = column[0]
    return row if isinstance(row, list | np.ndarray) else np.array([row]) if isinstance(row, np.generic) else [row]


def _as_array(column: Column) -> np.ndarray[Any, np.dtype[Any]]:
    """An array of numbers where the rows make one, else one of objects with an object per row."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "biuf":
            return column.astype(column.dtype.newbyteorder("="), copy=False)
        return column if column.dtype.kind in "OSU" else column.astype(object)
    first = column[0] if column else None
    if isinstance(first, bool | int | float | np.generic | np.ndarray):
        try:
            array = np.array(column)
        except (ValueError, OverflowError):  # rows of differing length, integers beyond 64 bits
            array = np.empty(0, dtype=object)
        if array.dtype in _BY_DTYPE:
            return array
    objects = np.empty(len(column), dtype=object)
    for number, row in enumerate(column):  # one by one: NumPy would open rows that are lists themselves
        objects[number] = row
    return objects


def chosen_outputs(asked: Sequence[str], pipeline: Pipeline) -> Sequence[str]:
    """The outputs that a request names. Raises InvalidRequest for one that is not there or named twice."""
    for name in asked:
        if name not in pipeline.outputs:
            raise InvalidRequest(
                f"unknown output {name!r}{nearest(name, list(pipeline.outputs))}; "
                f"there are: {', '.join(pipeline.outputs)}"
            )
    return list(dict.fromkeys(asked))
