"""How do the tensors of a request become the columns of a pipeline, whatever they travelled in?"""

from __future__ import annotations

import array as packed
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from headrace.adapters.open_inference.datatypes import DATATYPES, KINDS, NAMES, datatype_of
from headrace.domain.errors import InvalidInput
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Array, Column, TensorSpec
from headrace.services.context import Inputs

LIMIT: Final = 2**31
"""Elements that an axis may have: far beyond any body, and safe to multiply."""
MAX_EMPTY_ROWS: Final = 65_536
"""Rows of which each is empty, and which therefore cost their sender nothing."""
_CODES: Final = {"f": "d", "i": "q", "u": "q"}


class Given(Protocol):
    """What every tensor of a request says about itself."""

    @property
    def name(self) -> str:
        """The input that it is for."""

    @property
    def datatype(self) -> str:
        """The protocol's name of its type."""

    @property
    def shape(self) -> Sequence[int]:
        """Its axes."""


T = TypeVar("T", bound=Given)
ToColumn = Callable[[T, TensorSpec], Column]
"""Gives a tensor's values as an array, or as lists, nested as its shape says."""


def to_inputs(given: Sequence[T], pipeline: Pipeline, to_column: ToColumn[T]) -> Inputs:
    """The tensors of a request as columns; lists stay lists until their batch is formed.

    With a batch axis, axis 0 is the row; without one each tensor is the whole of a single row. Raises InvalidInput
    for a shape that does not hold, a datatype that does not fit, and an unknown or repeated name.
    """
    columns: dict[str, Column] = {}
    rows: int | None = None
    specs = pipeline.inputs
    for tensor in given:
        spec = specs.get(tensor.name)
        if spec is None or tensor.name in columns or tensor.datatype != DATATYPES.get(spec.dtype):
            spec = _spec_of(tensor, pipeline, columns)
        require_shape(tensor)
        if not pipeline.batched:
            columns[tensor.name] = [whole(to_column(tensor, spec), spec)]
            rows = 1
            continue
        if not tensor.shape:
            raise InvalidInput(f"input {tensor.name!r} has no axis, and axis 0 is the row")
        if rows is not None and tensor.shape[0] != rows:
            raise InvalidInput(
                f"input {tensor.name!r} has {tensor.shape[0]} rows where the one before has {rows}; "
                "axis 0 is the row in all of them"
            )
        rows = tensor.shape[0]
        columns[tensor.name] = to_column(tensor, spec)
    return Inputs(columns, 1 if rows is None else rows)


def _spec_of(tensor: Given, pipeline: Pipeline, columns: dict[str, Column]) -> TensorSpec:
    specs = pipeline.inputs
    spec = specs.get(tensor.name)
    if spec is None:
        raise InvalidInput(
            f"unknown input {tensor.name!r}{nearest(tensor.name, list(specs))}; "
            f"there are: {', '.join(specs) or 'none'}",
            details={"column": tensor.name},
        )
    if tensor.name in columns:
        raise InvalidInput(f"input {tensor.name!r} is given twice", details={"column": tensor.name})
    require_datatype(tensor, spec)
    return spec


def require_datatype(tensor: Given, spec: TensorSpec) -> None:
    """Raises InvalidInput for a datatype that is none, or that the column cannot hold."""
    kind = KINDS.get(tensor.datatype)
    if kind is None:
        raise InvalidInput(
            f"input {tensor.name!r} has the datatype {tensor.datatype!r}{nearest(tensor.datatype, NAMES)}; "
            f"there are: {', '.join(NAMES)}"
        )
    wanted = datatype_of(spec)
    if spec.dtype in ("any", "image") or tensor.datatype == wanted:
        return
    if not _fits(kind, KINDS[wanted]):
        raise InvalidInput(f"input {tensor.name!r} is {wanted}, not {tensor.datatype}", details={"column": tensor.name})


def _fits(kind: str, wanted: str) -> bool:
    """Whether values of one kind may stand for another; their range is checked when the column is made."""
    return kind == wanted or (wanted == "f" and kind in "iu") or (kind + wanted) in ("iu", "ui")


def require_shape(tensor: Given) -> None:
    """Raises InvalidInput for a shape that no tensor can have, or that would make much of nothing."""
    shape = tensor.shape
    if not shape or (len(shape) == 2 and 0 < shape[0] < LIMIT and 0 < shape[1] < LIMIT):  # as nearly all are
        return
    if len(shape) > 32 or min(shape) < 0 or max(shape) >= LIMIT:
        raise InvalidInput(f"input {tensor.name!r} has the impossible shape {list(shape)!r:.100}")
    if 0 in shape and prod(size for size in shape if size) > (MAX_EMPTY_ROWS if shape[0] else LIMIT):
        raise InvalidInput(f"input {tensor.name!r} has the shape {list(shape)!r:.100}, and nothing in it")


def wrong_size(tensor: Given, found: str) -> InvalidInput:
    """What is told when a tensor's values are not as many as its shape says."""
    shape = list(tensor.shape)
    return InvalidInput(
        f"input {tensor.name!r} has the shape {shape}, which is {prod(shape)} values, and {found}",
        details={"column": tensor.name},
    )


def folded(values: list[Any], shape: Sequence[int]) -> list[Any]:
    """A flat list nested as *shape* says."""
    for size in reversed(shape[1:]):
        if size == 0:
            return [[] for _ in range(shape[0])]
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def in_shape(values: list[Any], shape: Sequence[int], spec: TensorSpec) -> Column:
    """A flat list, as JSON gives it, as the column that *spec* asks for; as many values as *shape* says.

    Numbers in many axes become an array at once, for nesting them takes longer than all the rest. What is no such
    number stands in lists: whoever makes the column says what is wrong with it.
    """
    array = _packed(values, spec.dtype) if values and spec.numeric and len(shape) > 2 else None
    return folded(values, shape) if array is None else array.reshape(shape)


def _packed(values: list[Any], name: str) -> Array | None:
    """Plain numbers as an array; None if there are others among them."""
    dtype = np.dtype(name)
    code = "f" if name == "float32" else _CODES.get(dtype.kind)
    if code is None:
        return None
    try:
        array: Array = np.frombuffer(packed.array(code, values), code)
    except (TypeError, OverflowError):
        return None
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= array.min() <= array.max() <= np.iinfo(dtype).max:
        return None
    with np.errstate(over="ignore"):  # beyond float16 lies infinity, as everywhere in NumPy
        return array.astype(dtype, copy=False)


def whole(column: Column, spec: TensorSpec) -> Any:
    """The one row of a pipeline without a batch axis; a scalar is a tensor of one value there."""
    if spec.row_shape == () and len(column) == 1:
        return column[0]
    return column
