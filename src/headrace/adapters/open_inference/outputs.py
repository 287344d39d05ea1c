"""How do the columns of an answer become tensors, and which of them are wanted?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from headrace.adapters.open_inference.datatypes import BY_DTYPE
from headrace.domain.errors import InvalidRequest
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Array, Column

JSON_TEXT: Final[Mapping[str, str]] = {"content_type": "json"}
"""The parameters of a tensor of BYTES whose elements are JSON, because its column is no tensor."""


class Tensor(NamedTuple):
    """An output: an array of numbers, or the flat elements of BYTES, all of them bytes."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Array | list[bytes]
    parameters: Mapping[str, str] | None = None


def chosen_outputs(asked: Sequence[str], pipeline: Pipeline) -> Sequence[str]:
    """The outputs that a request names, each once. Raises InvalidRequest for one that is not there."""
    for name in asked:
        if name not in pipeline.outputs:
            raise InvalidRequest(
                f"unknown output {name!r}{nearest(name, list(pipeline.outputs))}; "
                f"there are: {', '.join(pipeline.outputs)}"
            )
    return list(dict.fromkeys(asked))


def to_tensor(name: str, column: Column, to_json: Callable[[Any], bytes], *, batched: bool) -> Tensor:
    """A column as an output tensor. What is neither number nor text nor bytes is written as JSON by *to_json*."""
    array = as_array(column, batched=batched)
    if (datatype := BY_DTYPE.get(array.dtype)) is not None:
        return Tensor(name, datatype, array.shape, array)
    values = array.reshape(-1).tolist()
    if all(isinstance(value, str) for value in values):
        return Tensor(name, "BYTES", array.shape, [value.encode() for value in values])
    if all(isinstance(value, bytes) for value in values):
        return Tensor(name, "BYTES", array.shape, values)
    return Tensor(name, "BYTES", array.shape, [to_json(value) for value in values], JSON_TEXT)


def as_array(column: Column, *, batched: bool) -> Array:
    """An array of numbers where the rows make one, else one of objects with an object per row."""
    if not batched:
        column = _unbatched(column)
    if isinstance(column, np.ndarray):
        if column.dtype in BY_DTYPE:
            return column
        if column.dtype.kind in "biuf":
            return column.astype(column.dtype.newbyteorder("="), copy=False)
        return column if column.dtype.kind in "OSU" else column.astype(object)
    first = column[0] if column else None
    if isinstance(first, bool | int | float | np.generic | np.ndarray):
        try:
            array = np.array(column)
        except (ValueError, OverflowError):  # rows of differing length, integers beyond 64 bits
            array = np.empty(0, dtype=object)
        if array.dtype in BY_DTYPE:
            return array
    objects = np.empty(len(column), dtype=object)
    for number, row in enumerate(column):  # one by one: NumPy would open rows that are lists themselves
        objects[number] = row
    return objects


def _unbatched(column: Column) -> Column:
    """The tensor that is the only row of a pipeline without a batch axis."""
    row = column[0]
    return row if isinstance(row, list | np.ndarray) else np.array([row]) if isinstance(row, np.generic) else [row]
