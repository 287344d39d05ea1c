"""What a column holds: element type and shape, how specs are compared, and how plain lists become arrays."""

from __future__ import annotations

import array as packed
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
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
PLAIN: Final = frozenset((bool, int, float))
MAX_DEPTH: Final = 32
MANY: Final = 100_000
_CODES: Final = {"float32": "f", "float64": "d"}
_DTYPES: Final = {name: np.dtype(name) for name in NUMBERS}


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
    if (
        type(rows) is np.ndarray
        and spec.shape
        and rows.ndim
        and _DTYPES.get(spec.dtype) is rows.dtype
        and rows.shape[1:] == spec.shape[1:]
    ):
        return rows  # as it is wanted, which it nearly always is when a step or the model asks again
    if not spec.numeric:
        return _objects(rows, spec)
    if isinstance(rows, np.ndarray) and rows.dtype.kind != "O":
        return _cast(rows, spec)
    return _numbers(rows if isinstance(rows, list) else list(rows), spec)


# What a value becomes, and whether it is accepted, must not depend on the rows beside it: they are strangers'. So
# nothing below lets NumPy choose a type for several rows that it would not have chosen for each.


def _objects(rows: Column, spec: TensorSpec) -> Column:
    kind = {"string": str, "bytes": bytes}.get(spec.dtype)
    if kind is None:
        return rows
    values = rows.tolist() if isinstance(rows, np.ndarray) else rows
    if spec.row_shape in ((), None):
        _require(values, kind, spec)
        return values
    return _stacked([_object_row(value, kind, spec) for value in values])


def _object_row(value: Any, kind: type, spec: TensorSpec) -> Array:
    _require(_leaves(value), kind, spec)
    row = np.array(value, dtype=object)  # lists of differing length stay lists inside, and have too few axes
    _require_shape((1, *row.shape), spec)
    return row


def _require(leaves: Sequence[Any], kind: type, spec: TensorSpec) -> None:
    for leaf in leaves:
        if not isinstance(leaf, kind):
            raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {_found(leaf)}")


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
    if (quick := _quick(rows, spec)) is not None:
        return quick
    if any(issubclass(kind, (np.ndarray, np.generic)) for kind in set(map(type, rows))):
        return _mixed(rows, spec)
    types = _leaf_types(rows, spec)
    if not types <= PLAIN:
        _require_plausible(rows, spec)
        rows = _plain(rows, spec)
        types = {type(leaf) for leaf in _leaves(rows)}
    try:
        return _cast(_array(rows, types, spec), spec)
    except (ValueError, TypeError):
        return _ragged(_plain(rows, spec), spec)  # an empty string or object has no leaves to tell it by
    except OverflowError:
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}; a number is beyond its range") from None


def _quick(rows: list[Any], spec: TensorSpec) -> Array | None:
    """Rows that are lists, in lists, of a stated number of floats, the usual case; None for all others, and mistakes.

    An `array.array` takes a list in half the time that NumPy does, and nothing in it but numbers.
    """
    code = _CODES.get(spec.dtype)
    if code is None or spec.shape is None or len(spec.shape) < 2 or min(spec.shape[1:]) < 1:
        return None
    flat = packed.array(code)
    try:
        for row in rows if len(spec.shape) == 2 else _innermost(rows, spec.shape[1:-1]):
            if len(row) != spec.shape[-1]:
                return None
            flat.fromlist(row)
    except (TypeError, OverflowError):
        return None
    return np.frombuffer(flat, dtype=spec.dtype).reshape(len(rows), *spec.shape[1:]) if flat else None


def _innermost(rows: list[Any], shape: Sequence[int]) -> list[Any]:
    """What stands in lists in *rows* that are nested as *shape* says. Raises TypeError if they are not."""
    for size in shape:
        if not (set(map(type, rows)) == {list} and set(map(len, rows)) == {size}):
            raise TypeError
        rows = list(chain.from_iterable(rows))
    return rows


def _leaf_types(rows: list[Any], spec: TensorSpec) -> set[type]:
    """The types of the values inside *rows*. Looked at before NumPy does: one string makes it pad all to its length."""
    leaves: Iterable[Any] = rows
    for _ in spec.row_shape or ():
        leaves = chain.from_iterable(leaves)
    try:
        return set(map(type, leaves)) if spec.row_shape is not None else set(map(type, _leaves(rows)))
    except TypeError:  # a number where a list should stand
        return {list}


def _require_plausible(rows: list[Any], spec: TensorSpec) -> None:
    """Raises InvalidInput for what is certainly wrong in many values, before each of them is looked at by itself."""
    if spec.row_shape is None or not _more_than(rows, MANY):
        return
    leaves: Iterable[Any] = rows
    for _ in spec.row_shape:
        leaves = chain.from_iterable(leaves)
    try:
        odd = next((leaf for leaf in leaves if type(leaf) not in PLAIN), 0)
    except TypeError:  # a number where a list should stand
        return
    if odd is None or isinstance(odd, str | dict):
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {_found(odd)}")
    if isinstance(odd, list):
        shape = _shown((spec.shape or ())[1:])
        raise InvalidInput(f"column {spec.name!r} wants rows of shape {shape}, and lists are nested deeper")


def _more_than(value: list[Any], count: int) -> bool:
    """Whether lists in lists hold more than *count* values; looks no further than that."""
    waiting = [value]
    seen = 0
    while waiting and seen <= count:
        item = waiting.pop()
        seen += len(item)
        waiting.extend(inner for inner in item[:count] if isinstance(inner, list))
    return seen > count


def _plain(value: Any, spec: TensorSpec, depth: int = 0) -> Any:
    """*value* with NumPy's numbers inside lists as Python's. Raises InvalidInput for what is no number."""
    if depth > MAX_DEPTH:
        raise InvalidInput(f"lists are nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_plain(item, spec, depth + 1) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist(), spec, depth + 1)
    if not isinstance(value, (bool, int, float)):
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {_found(value)}")
    return value


def _array(rows: list[Any], types: set[type], spec: TensorSpec) -> Array:
    """*rows* of plain numbers as one array. Raises ValueError where they differ in shape."""
    if spec.dtype in GROUPS["float"]:
        with np.errstate(over="ignore"):  # beyond float16 or float32 lies infinity, as everywhere in NumPy
            return np.array(rows, dtype=spec.dtype)
    if spec.dtype == "bool" and not types <= {bool}:
        found = next(leaf for leaf in _leaves(rows) if not isinstance(leaf, bool))
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not {_found(found)}")
    if float not in types:
        array = np.array(rows)
        if array.dtype.kind in "iub" or array.size == 0:
            return array
    # NumPy makes float64 of integers beside fractions, or beyond 63 bits, and loses digits: go value by value.
    return np.array([_integer(leaf, spec) for leaf in _leaves(rows)], dtype=object).reshape(np.shape(rows))


def _integer(leaf: float, spec: TensorSpec) -> int:
    if isinstance(leaf, float) and not leaf.is_integer():
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not the fraction {leaf!r}")
    return int(leaf)


def _ragged(rows: list[Any], spec: TensorSpec) -> Column:
    if len(rows) == 1:
        raise InvalidInput(f"column {spec.name!r} wants {spec}, but the lists inside differ in length")
    return _stacked([_numbers([row], spec)[0] for row in rows])


def _mixed(rows: list[Any], spec: TensorSpec) -> Column:
    """Rows among which there are arrays, of one request or of several that sent different things."""
    first = rows[0]
    if all(isinstance(row, np.ndarray) and _alike(row, first) for row in rows) and first.dtype.kind != "O":
        return _cast(np.stack(rows), spec)
    return _stacked([_row(row, spec) for row in rows])


def _row(row: Any, spec: TensorSpec) -> Array:
    if isinstance(row, (np.ndarray, np.generic)) and row.dtype.kind != "O":
        single: Array = _cast(np.asarray(row)[np.newaxis], spec)[0]
    else:
        single = _numbers([row.tolist() if isinstance(row, np.ndarray) else row], spec)[0]
    return single


def _stacked(rows: list[Array]) -> Column:
    """One array, or the rows themselves where they differ in shape."""
    return np.stack(rows) if rows and all(_alike(row, rows[0]) for row in rows) else rows


def _alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _cast(array: Array, spec: TensorSpec) -> Array:
    wanted = _DTYPES[spec.dtype]
    if array.dtype != wanted:
        array = _converted(array, wanted, spec)
    _require_shape(array.shape, spec)
    return array


def _require_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    if spec.shape is not None and not shape_fits(shape, spec.shape):
        raise InvalidInput(
            f"column {spec.name!r} wants rows of shape {_shown(spec.shape[1:])}, not {_shown(shape[1:])}"
        )


def _converted(array: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    kinds = {"b": "b", "i": "iubO", "u": "iubO", "f": "fiub"}[wanted.kind]
    if array.size == 0:
        return array.astype(wanted)
    if array.dtype.kind not in kinds:
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}, not an array of {array.dtype.name}")
    if wanted.kind in "iu" and array.dtype.kind != "b":
        return _whole(array, wanted, spec)
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _whole(array: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    limits = np.iinfo(wanted)
    low, high = array.min(), array.max()
    if low < limits.min or high > limits.max:
        beyond = low if low < limits.min else high
        raise InvalidInput(f"column {spec.name!r} wants {spec.dtype}; {beyond} is beyond its range")
    return array.astype(wanted)


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
    if shape[1:] == wanted[1:]:  # the usual case, told at once
        return len(shape) == len(wanted)
    return len(shape) == len(wanted) and all(
        want in (-1, have) for have, want in zip(shape[1:], wanted[1:], strict=True)
    )


def row_size(spec: TensorSpec) -> int | None:
    """How many elements one row holds; None while an axis is free."""
    if spec.row_shape is None or -1 in spec.row_shape:
        return None
    return prod(spec.row_shape)
