"""How do Arrow columns become NumPy arrays and lists, and columns of answers Arrow's? With few copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from headrace.domain.errors import InvalidInput
from headrace.domain.ports import Values
from headrace.domain.tensors import GROUPS, NUMBERS, Array, Column, TensorSpec
from headrace.infra.storage.texts import json_text, plain_list

Problems = dict[int, str]
SCALARS: Final[Mapping[frozenset[type], str]] = {
    frozenset({str}): "string",
    frozenset({bytes}): "binary",
    frozenset({bool}): "bool_",
    frozenset({int}): "int64",
    frozenset({float}): "float64",
    frozenset({int, float}): "float64",
}


def misfit(kind: Any, spec: TensorSpec, arrow: Any) -> str | None:
    """Why no value of the Arrow type *kind* can be what *spec* wants; None if it may."""
    types = arrow.types
    leaf = kind
    while types.is_list(leaf) or types.is_large_list(leaf) or types.is_fixed_size_list(leaf):
        leaf = leaf.value_type
    if types.is_dictionary(leaf):
        leaf = leaf.value_type
    text = types.is_string(leaf) or types.is_large_string(leaf) or types.is_string_view(leaf)
    binary = types.is_binary(leaf) or types.is_large_binary(leaf) or types.is_fixed_size_binary(leaf)
    number = types.is_integer(leaf) or types.is_floating(leaf) or types.is_decimal(leaf) or types.is_boolean(leaf)
    fits = {"string": text, "bytes": binary, **dict.fromkeys((*NUMBERS, *GROUPS), number)}
    if types.is_null(leaf) or fits.get(spec.dtype, True):
        return None
    return f"holds {kind} where {spec.dtype} is wanted"


def to_column(values: Any, spec: TensorSpec, arrow: Any) -> tuple[Column, Problems]:
    """The Arrow array *values* as a column, and what is wrong with which rows (their values mean nothing).

    Numbers are views of Arrow's memory, which must not be written to; lists of one length are a matrix; text and
    everything else are lists. A null is the default of an optional column, else a problem.
    """
    values = _plain_type(values, spec, arrow)
    if values.null_count:
        return _with_nulls(values, spec, arrow)
    return _whole(values, arrow), {}


def _plain_type(values: Any, spec: TensorSpec, arrow: Any) -> Any:
    """Without the types that only wrap another one."""
    if isinstance(values, arrow.ExtensionArray):
        values = values.storage
    if arrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if arrow.types.is_decimal(values.type) and spec.numeric:
        values = values.cast(arrow.float64())
    return values


def _whole(values: Any, arrow: Any) -> Column:
    types = arrow.types
    kind = values.type
    if types.is_fixed_size_list(kind):
        flat = values.flatten()
        inner = None if flat.null_count else _whole(flat, arrow)
        if isinstance(inner, np.ndarray):
            return inner.reshape(len(values), kind.list_size, *inner.shape[1:])
    elif types.is_list(kind) or types.is_large_list(kind):
        return _lists(values, arrow)
    elif types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return _view(values, arrow)
    rows: list[Any] = values.to_pylist()
    return rows


def _view(values: Any, arrow: Any) -> Array:
    """Numbers without nulls as a view of Arrow's memory, booleans a byte each. `to_numpy` would import pandas."""
    if arrow.types.is_boolean(values.type):
        return _view(values.cast(arrow.uint8()), arrow).view(np.bool_)
    dtype = np.dtype(values.type.to_pandas_dtype())
    data = values.buffers()[1]
    if data is None:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(values), values.offset * dtype.itemsize)


def _lists(values: Any, arrow: Any) -> Column:
    """Lists of numbers: one matrix where all are of one length, else an array for each row."""
    flat = values.flatten()
    inner = None if flat.null_count else _whole(flat, arrow)
    if not isinstance(inner, np.ndarray):
        rows: list[Any] = values.to_pylist()
        return rows
    offsets = _view(values.offsets, arrow) - values.offsets[0].as_py()
    lengths = np.diff(offsets)
    if len(lengths) and (lengths == lengths[0]).all():
        return inner.reshape(len(values), int(lengths[0]), *inner.shape[1:])
    return [inner[start:stop] for start, stop in pairwise(offsets)]


def _with_nulls(values: Any, spec: TensorSpec, arrow: Any) -> tuple[Column, Problems]:
    missing = np.flatnonzero(_view(values.is_null(), arrow))
    if arrow.types.is_floating(values.type) and spec.optional and spec.default is None:
        return _view(values.fill_null(np.nan), arrow), {}  # NaN, which steps that fill gaps know as well
    rows = values.to_pylist()
    if spec.optional:
        return [spec.default if row is None else row for row in rows], {}
    problems = {int(row): f"is null, and {spec.dtype} is wanted" for row in missing}
    present = values.drop_null()
    filler = present[0].as_py() if len(present) else None
    if filler is None:
        return rows, problems
    if arrow.types.is_integer(values.type) or arrow.types.is_floating(values.type):
        return _whole(values.fill_null(filler), arrow), problems
    return [filler if row is None else row for row in rows], problems


def type_of(column: Values, spec: TensorSpec | None, arrow: Any) -> Any:
    """The Arrow type of a column of answers, from its spec and its first rows; None for what is stored as JSON.

    Arrays have a fixed-size list for each axis that the spec does not leave free; texts, bytes and single values
    are what they are. Objects, and lists of anything, are JSON: a Parquet type would have to know all their keys
    and lengths before the first row is written.
    """
    if isinstance(column, arrow.Array):
        return column.type
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiubM":
        return _array_type(column, spec, arrow)
    if spec is not None and spec.numeric and spec.shape is not None:
        return _listed(arrow.from_numpy_dtype(np.dtype(spec.dtype)), spec.shape[1:], arrow)
    kinds = frozenset(map(type, plain_list(column))) - {type(None)}
    if not kinds and spec is not None and spec.row_shape == ():
        kinds = frozenset({{"string": str, "bytes": bytes}.get(spec.dtype, dict)})
    factory = SCALARS.get(kinds)
    return getattr(arrow, factory)() if factory else None


def _array_type(column: Array, spec: TensorSpec | None, arrow: Any) -> Any:
    shape = column.shape[1:]
    if spec is not None and spec.row_shape is not None and len(spec.row_shape) == len(shape):
        shape = spec.row_shape
    return _listed(arrow.from_numpy_dtype(column.dtype), shape, arrow)


def _listed(kind: Any, shape: Sequence[int], arrow: Any) -> Any:
    for size in reversed(shape):
        kind = arrow.list_(kind, size) if size > 0 else arrow.list_(kind)
    return kind


def to_arrow(name: str, column: Values, kind: Any, arrow: Any) -> Any:
    """*column* as an Arrow array of the type *kind* (None: JSON text). Raises InvalidInput when it does not fit."""
    try:
        if kind is None:
            return arrow.array([None if row is None else json_text(row) for row in plain_list(column)], arrow.string())
        if isinstance(column, arrow.Array):
            return column if column.type == kind else column.cast(kind)
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            return _from_array(np.ascontiguousarray(column), kind, arrow)
        return arrow.array(_for_arrow(plain_list(column)), kind)
    except (arrow.ArrowException, ValueError, TypeError) as error:
        raise InvalidInput(
            f"the column {name!r} began as {'JSON' if kind is None else kind}, and a later row does not fit "
            f"({str(error).splitlines()[0][:200]}); a Parquet column has one type, JSON lines (.jsonl) take any"
        ) from error


def _from_array(column: Array, kind: Any, arrow: Any) -> Any:
    if column.ndim == 1:
        given = numbers(column, arrow)
        return given if given.type == kind else given.cast(kind)
    if arrow.types.is_fixed_size_list(kind) and kind.list_size == column.shape[1]:
        inner = _from_array(column.reshape(-1, *column.shape[2:]), kind.value_type, arrow)
        return arrow.FixedSizeListArray.from_arrays(inner, type=kind)
    return arrow.array(column.tolist(), kind)


def numbers(column: Array, arrow: Any) -> Any:
    """A column of numbers as Arrow sees them, in the memory where they are. `pyarrow.array` would import pandas."""
    kind = arrow.from_numpy_dtype(column.dtype)
    data = np.packbits(column, bitorder="little") if column.dtype.kind == "b" else column
    return arrow.Array.from_buffers(kind, len(column), [None, arrow.py_buffer(data)], 0)


def _for_arrow(rows: list[Any]) -> list[Any]:
    """Rows that are arrays of no or several axes as plain values, which Arrow takes."""
    return [row.tolist() if isinstance(row, np.ndarray) and row.ndim != 1 else row for row in rows]
