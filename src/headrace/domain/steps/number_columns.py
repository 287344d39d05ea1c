"""How does a vectorised step read a column of numbers, whose rows may come as lists or differ in shape?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from headrace.domain.errors import InvalidInput
from headrace.domain.step import as_column
from headrace.domain.tensors import GROUPS, Array, Column, TensorSpec

NUMERIC: Final = "biuf"
PLAIN: Final = frozenset((bool, int, float))


def numbers(column: Column, name: str) -> Column:
    """*column* as one array of numbers, or as a list of arrays where the rows differ in shape or type.

    Raises InvalidInput for anything but numbers and booleans.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind in NUMERIC:
        return column
    kinds = set(map(type, column))
    if len(kinds) == 1 and kinds <= PLAIN:
        array = np.asarray(column)
        if array.dtype.kind in NUMERIC:
            return array
    # Row by row: of integers and fractions in different rows NumPy would make one type, and lose digits.
    return as_column(_row(row, name) for row in column)


def floats(column: Column, name: str) -> Column:
    """The same in floating point: float arrays keep their type, everything else becomes float32.

    Plain lists always do, so that the type of a row does not depend on its neighbours.
    """
    plain = isinstance(column, list) and not any(isinstance(row, (np.ndarray, np.generic)) for row in column[:1])
    return each(numbers(column, name), lambda array: array.astype(np.float32) if plain else floating(array))


def floating(array: Array) -> Array:
    """*array* itself if it is of a float type, else as float32."""
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def floating_spec(spec: TensorSpec) -> TensorSpec:
    """What `floats` makes of a column of *spec*."""
    return TensorSpec(spec.dtype if spec.dtype in GROUPS["float"] else "float32", spec.shape)


def each(column: Column, function: Callable[[Array], Array]) -> Column:
    """*function* applied to the whole column at once, or to each row (as an array of one) where shapes differ.

    What is too large becomes infinity, and what has no value NaN, without a warning.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(column, np.ndarray):
            return function(column)
        return as_column(function(row[np.newaxis])[0] for row in column)


def _row(row: object, name: str) -> Array:
    try:
        array = np.asarray(row)
    except ValueError:
        raise InvalidInput(f"column {name!r} holds lists that differ in length inside one row") from None
    if array.dtype.kind not in NUMERIC:
        raise InvalidInput(f"column {name!r} holds {_found([row])}; this step wants numbers")
    return array


def _found(column: Column) -> str:
    for value in column:
        if value is None:
            return "null (tables.fill replaces missing values)"
        if isinstance(value, str):
            return f"the string {value[:40]!r}"
    return f"values such as a {type(column[0]).__name__}" if len(column) else "nothing"
