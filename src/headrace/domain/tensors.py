"""What a column holds: element type and shape, how specs are compared, and how plain lists become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.domain.errors import InvalidInput

Array = NDArray[Any]
Column = Array | list[Any]

NUMBERS: Final = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
)  # fmt: skip
OBJECTS: Final = ("string", "bytes", "image", "any")
DTYPES: Final = (*NUMBERS, *OBJECTS)
GROUPS: Final = {
    "number": NUMBERS,
    "integer": NUMBERS[1:9],
    "float": NUMBERS[9:],
}
MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The element type and shape of one column.

    *shape* includes the row axis (axis 0), and -1 stands for any size, as in the V2 protocol; ``None`` means that
    nothing is known about it. *dtype* is a NumPy name, ``string`` (str), ``bytes``, ``image`` (a decoded picture;
    shape ``(-1, height, width, channels)``) or ``any``. What a step reads may also be one of the groups
    ``number``, ``integer`` and ``float``. A *default* makes an input optional.
    """

    dtype: str
    shape: tuple[int, ...] | None = (-1,)
    name: str = ""
    default: Any = None
    optional: bool = False

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """The shape of one row: *shape* without axis 0."""
        return None if self.shape is None else self.shape[1:]

    @property
    def numeric(self) -> bool:
        """Whether rows of this column can stand in one NumPy array of numbers."""
        return self.dtype in NUMBERS

    def with_shape(self, shape: tuple[int, ...] | None) -> TensorSpec:
        """The same column with another shape."""
        return replace(self, shape=shape)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{','.join('?' if n < 0 else str(n) for n in self.shape)}]"


ANYTHING: Final = TensorSpec("any", None)
TEXT: Final = TensorSpec("string", (-1,))
BYTES: Final = TensorSpec("bytes", (-1,))
IMAGE: Final = TensorSpec("image", (-1, -1, -1, -1))
NUMBER: Final = TensorSpec("number", None)


def misfit(wanted: TensorSpec, given: TensorSpec) -> str | None:
    """Why a column of *given* cannot be read as *wanted*; None if it can, or if it cannot be known yet."""
    if "any" not in (wanted.dtype, given.dtype) and not _dtype_fits(wanted.dtype, given.dtype):
        return f"holds {given.dtype}, but {wanted.dtype} is wanted"
    if wanted.shape is None or given.shape is None:
        return None
    if len(wanted.shape) != len(given.shape):
        return f"has shape {_shown(given.shape)}, but {_shown(wanted.shape)} is wanted"
    for want, have in zip(wanted.shape[1:], given.shape[1:], strict=True):
        if want >= 0 and have >= 0 and want != have:
            return f"has shape {_shown(given.shape)}, but {_shown(wanted.shape)} is wanted"
    return None


def _dtype_fits(wanted: str, given: str) -> bool:
    if given in GROUPS:  # an input that a step reads as any number: known only when a request is there
        return any(_dtype_fits(wanted, possible) for possible in GROUPS[given])
    if wanted in GROUPS:
        return given in GROUPS[wanted]
    if wanted == given:
        return True
    if given not in NUMBERS or wanted not in NUMBERS:
        return False
    return bool(np.can_cast(np.dtype(given), np.dtype(wanted), "same_kind"))


def _shown(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if n < 0 else str(n) for n in shape) + "]"


def to_column(rows: Column, spec: TensorSpec) -> Column:
    """Turn *rows* (one value per row: scalars, nested lists, arrays, strings ...) into the column *spec* asks for.

    Numbers become one array of shape ``(n, *row_shape)``, or a list of arrays where rows differ in a free axis;
    everything else stays a list. Raises InvalidInput, which names the column and what was found.
    """
    if not spec.numeric:
        return _objects(rows, spec)
    if isinstance(rows, np.ndarray):
        return _cast(rows, spec)
    if rows and isinstance(rows[0], np.ndarray):
        return _stack(rows, spec)
    return _numbers(rows, spec)


def _objects(rows: Column, spec: TensorSpec) -> Column:
    kind = {"string": str, "bytes": bytes}.get(spec.dtype)
    if kind is None:
        return rows
    deep = spec.row_shape not in ((), None)
    values = rows.tolist() if isinstance(rows, np.ndarray) else rows
    for value in values:
        leaves = _leaves(value) if deep else (value,)
        for leaf in leaves:
            if not isinstance(leaf, kind):
                raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {_found(leaf)}")
    return np.array(values, dtype=object) if deep else values


def _leaves(value: Any, depth: int = 0) -> list[Any]:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"lists are nested more than {MAX_DEPTH} deep")
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item, depth + 1)]
    return [value]


def _numbers(rows: list[Any], spec: TensorSpec) -> Column:
    """Lists as JSON gives them. Strict: no string is read as a number, no fraction as an integer."""
    try:
        array = np.array(rows)
    except (ValueError, OverflowError):
        return _ragged(rows, spec)
    if array.dtype.kind == "f" and spec.dtype not in GROUPS["float"]:
        # NumPy turns a mix of integers and floats into float64, which loses large integers: go value by value.
        return _cast(_integers(rows, spec), spec)
    if array.dtype.kind == "O":
        return _objects_as_numbers(rows, array, spec)
    return _cast(array, spec)


def _integers(rows: list[Any], spec: TensorSpec) -> Array:
    shape = np.shape(rows)
    whole = []
    for leaf in _leaves(rows):
        if isinstance(leaf, float):
            if not leaf.is_integer():
                raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not the fraction {leaf!r}")
            leaf = int(leaf)  # noqa: PLW2901
        whole.append(leaf)
    return np.array(whole, dtype=object).reshape(shape)


def _objects_as_numbers(rows: list[Any], array: Array, spec: TensorSpec) -> Column:
    """Integers beyond 64 bits, None, objects or rows of differing length."""
    for leaf in _leaves(rows):
        if not isinstance(leaf, (int, float, np.number)):
            raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {_found(leaf)}")
    return _cast(array, spec)


def _ragged(rows: list[Any], spec: TensorSpec) -> Column:
    if len(rows) == 1:
        raise InvalidInput(
            f"column {spec.name!r} wants {spec}, but the lists inside differ in length",
        )
    arrays = [_numbers([row], spec) for row in rows]
    return _stack([array[0] for array in arrays], spec)


def _stack(rows: list[Any], spec: TensorSpec) -> Column:
    arrays = [_cast(np.asarray(row)[np.newaxis], spec)[0] for row in rows]
    first = arrays[0].shape
    if all(array.shape == first for array in arrays):
        return np.stack(arrays)
    return arrays


def _cast(array: Array, spec: TensorSpec) -> Array:
    wanted = np.dtype(spec.dtype)
    if array.dtype != wanted:
        array = _converted(array, wanted, spec)
    if spec.shape is not None and not shape_fits(array.shape, spec.shape):
        raise InvalidInput(
            f"column {spec.name!r} wants rows of shape {_shown(spec.shape[1:])}, not {_shown(array.shape[1:])}"
        )
    return array


def _converted(array: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    if array.size == 0:
        return array.astype(wanted) if array.dtype.kind in "fiubO" else _refuse(array, spec)
    # A JSON boolean reads as 0 or 1: NumPy mixes them so when a neighbour in the batch brought numbers,
    # and the answer may not depend on the neighbours.
    if (wanted.kind == "b" and array.dtype.kind != "b") or array.dtype.kind not in "fiubO":
        return _refuse(array, spec)
    if array.dtype.kind == "f" and wanted.kind in "iu":
        return _refuse(array, spec)
    if array.dtype.kind in "iuO" and wanted.kind in "iu":
        return _whole(array, wanted, spec)
    try:
        with np.errstate(over="ignore"):
            return array.astype(wanted)
    except (ValueError, TypeError, OverflowError):
        return _refuse(array, spec)


def _whole(array: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    limits = np.iinfo(wanted)
    low, high = array.min(), array.max()
    if low < limits.min or high > limits.max:
        beyond = low if low < limits.min else high
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}; {beyond} is beyond its range")
    return array.astype(wanted)


def _refuse(array: Array, spec: TensorSpec) -> Array:
    leaves = array.ravel()
    found = _found(leaves[0].item() if leaves.size and hasattr(leaves[0], "item") else array.dtype.name)
    raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {found}")


def _found(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    return {"list": "a list", "dict": "an object", "bytes": "bytes"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def shape_fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether an array of *shape* stands where *wanted* (with -1 for any size) is declared; axis 0 is free."""
    return len(shape) == len(wanted) and all(
        want in (-1, have) for have, want in zip(shape[1:], wanted[1:], strict=True)
    )


def row_size(spec: TensorSpec) -> int | None:
    """How many elements one row holds; None while an axis is free."""
    if spec.row_shape is None or -1 in spec.row_shape:
        return None
    return prod(spec.row_shape)
