"""Steps that change the type, the shape, the name or the range of any column of numbers."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy as np

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput
from headrace.domain.step import Specs, step
from headrace.domain.steps.number_columns import each, floating_spec, floats, numbers
from headrace.domain.tensors import ANYTHING, NUMBER, Array, Column, TensorSpec

Number = Literal[
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64"
]


def _cast_spec(reads: Specs, *, dtype: Number) -> Specs:
    return {"tensor": TensorSpec(dtype, reads["tensor"].shape)}


@step(reads={"tensor": NUMBER}, flow=_cast_spec, flexible=True, pure=True)
def cast(tensor: Column, *, dtype: Number) -> Column:
    """Give a column another element type.

    Reads and writes one column of numbers of any shape (`column:` says which, where several fit). *dtype* is a NumPy
    name (`float32`, `int64`, `uint8`, `bool` ...). Fractions are cut towards zero on the way to an integer type; to
    `bool`, everything but zero is true.

    Errors: `invalid_input` for a number that an integer type cannot hold (NaN, infinity, out of range).

    Example:
        in: {tensor: [[0.5, 2.0], [-1.5, 3.9]]}
        params: {dtype: int64}
        out: {tensor: [[0, 2], [-1, 3]]}
    """
    wanted = np.dtype(dtype)

    def one(array: Array) -> Array:
        if wanted.kind in "iu":
            _within_range(array, wanted)
        return array.astype(wanted)  # beyond float16 or float32 lies infinity, as everywhere in NumPy

    return each(numbers(tensor, "tensor"), one)


def _within_range(array: Array, wanted: np.dtype[Any]) -> None:
    if array.size == 0 or np.can_cast(array.dtype, wanted):
        return
    low, high = array.min(), array.max()  # NaN, if there is one
    limits = np.iinfo(wanted)
    if np.isnan(low) or not (np.isfinite(low) and np.isfinite(high)):
        raise InvalidInput(f"column 'tensor' holds NaN or infinity, which {wanted} cannot hold")
    if int(low) < limits.min or int(high) > limits.max:
        beyond = low if int(low) < limits.min else high
        raise InvalidInput(f"column 'tensor' holds {beyond}, which {wanted} cannot hold")


def _reshaped(reads: Specs, *, shape: tuple[int, ...]) -> Specs:
    before = reads["tensor"]
    if sum(size < 0 for size in shape) > 1 or min(shape, default=0) < -1:
        raise ValueError(f"wants a shape with at most one -1, not {list(shape)}")
    row = before.row_shape
    if row is None or min(row, default=0) < 0:
        return {"tensor": TensorSpec(before.dtype, (-1, *shape))}
    if not _holds(prod(row), shape):
        raise ValueError(f"cannot make {list(shape)} of rows of shape {list(row)}: {prod(row)} numbers each")
    known = prod(size for size in shape if size >= 0)
    free = prod(row) // known if known else 0
    return {"tensor": TensorSpec(before.dtype, (-1, *(free if size < 0 else size for size in shape)))}


def _holds(count: int, shape: tuple[int, ...]) -> bool:
    known = prod(size for size in shape if size >= 0)
    if min(shape, default=0) >= 0:
        return count == known
    return count == 0 if known == 0 else count % known == 0


@step(reads={"tensor": NUMBER}, flow=_reshaped, flexible=True, pure=True)
def reshape(tensor: Column, *, shape: tuple[int, ...]) -> Column:
    """Give the rows of a column another shape, with their numbers in the same order.

    Reads and writes one column of numbers. *shape* is that of one row, without the batch axis; one of its sizes may
    be -1 and is then computed. `[]` makes single numbers.

    Errors: `invalid_input` when a row holds another count of numbers.

    Example:
        in: {tensor: [[1.0, 2.0, 3.0, 4.0]]}
        params: {shape: [2, -1]}
        out: {tensor: [[[1.0, 2.0], [3.0, 4.0]]]}
    """

    def one(array: Array) -> Array:
        count = prod(array.shape[1:])
        if not _holds(count, shape):
            raise InvalidInput(f"rows of shape {list(array.shape[1:])} hold {count} numbers; {list(shape)} cannot")
        known = prod(size for size in shape if size >= 0)
        free = count // known if known else 0
        return array.reshape((len(array), *(free if size < 0 else size for size in shape)))

    return each(numbers(tensor, "tensor"), one)


def _old_names(**names: str) -> Specs:
    return dict.fromkeys(names, ANYTHING)


def _renamed(reads: Specs, /, **names: str) -> dict[str, TensorSpec | None]:
    if not names:
        raise ValueError("wants the names in params, as {old: new}")
    news = list(names.values())
    twice = sorted({new for new in news if news.count(new) > 1})
    if twice:
        raise ValueError(f"gives the name {twice[0]!r} to several columns")
    changes: dict[str, TensorSpec | None] = dict.fromkeys(names)
    return {**changes, **{new: reads[old] for old, new in names.items()}}


@step(reads=_old_names, writes=(), flow=_renamed, pure=True)
def rename(batch: Batch, /, **names: str) -> Batch:
    """Give columns other names: *params* are `{old: new}`.

    Reads columns of any kind and leaves their values alone. Names can be swapped; a column that already has one of
    the new names is replaced.

    Example:
        in: {image: [[1.0, 2.0]], id: [7]}
        params: {image: pixels}
        out: {pixels: [[1.0, 2.0]], id: [7]}
    """
    kept = {name: column for name, column in batch.columns.items() if name not in names}
    moved = {new: batch.columns[old] for old, new in names.items()}
    return Batch({**kept, **moved}, batch.size, failures=batch.failures, positions=batch.positions)


def _scaled(reads: Specs, *, factor: float = 1.0, offset: float = 0.0) -> Specs:
    return {"tensor": floating_spec(reads["tensor"])}


@step(reads={"tensor": NUMBER}, flow=_scaled, flexible=True, pure=True)
def scale(tensor: Column, *, factor: float = 1.0, offset: float = 0.0) -> Column:
    """Multiply by *factor*, then add *offset*.

    Reads and writes one column of numbers of any shape; float types stay, everything else becomes float32.

    Example:
        in: {tensor: [[0.0, 128.0, 255.0]]}
        params: {factor: 2.0, offset: -1.0}
        out: {tensor: [[-1.0, 255.0, 509.0]]}
    """

    def one(array: Array) -> Array:
        result: Array = array * array.dtype.type(factor) + array.dtype.type(offset)
        return result

    return each(floats(tensor, "tensor"), one)
