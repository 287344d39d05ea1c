"""Steps for rows of a table: missing values, scaling, categories, and columns put side by side for a model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np

from headrace.domain.errors import InvalidInput
from headrace.domain.step import Specs, step
from headrace.domain.steps.number_columns import NUMERIC, each, numbers
from headrace.domain.tensors import ANYTHING, NUMBERS, TEXT, Array, Column, TensorSpec, to_column

ONE_NUMBER: Final = TensorSpec("float64", (-1,))
Category = str | int | bool


def _doubles(column: Column, name: str) -> Array:
    """A column of single numbers as float64."""
    array = to_column(numbers(column, name), TensorSpec("float64", (-1,), name))
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"column {name!r} wants one number in each row")
    return array


def _select_reads(*, columns: tuple[str, ...], into: str = "features", dtype: str = "float32") -> Specs:
    return dict.fromkeys(columns, ONE_NUMBER)


def _select_writes(*, columns: tuple[str, ...], into: str = "features", dtype: str = "float32") -> Specs:
    return {into: ANYTHING}


def _selected(reads: Specs, *, columns: tuple[str, ...], into: str = "features", dtype: str = "float32") -> Specs:
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"wants a list of different columns, not {list(columns)}")
    width = 0
    for name, spec in reads.items():
        if spec.shape is not None and len(spec.shape) > 2:
            raise ValueError(f"wants numbers or vectors; the rows of {name!r} have the shape {list(spec.shape[1:])}")
        size = -1 if spec.shape is None else spec.shape[1] if len(spec.shape) == 2 else 1
        width = -1 if size < 0 or width < 0 else width + size
    return {into: TensorSpec(dtype, (-1, width))}


@step(reads=_select_reads, writes=_select_writes, flow=_selected, any_shape=True, pure=True)
def select(
    *given: Column,
    columns: tuple[str, ...],
    into: str = "features",
    dtype: Literal["float32", "float64", "int64"] = "float32",
) -> Array:
    """Put columns side by side, in the order given, as the one column that a model reads.

    Reads *columns* (one number a row each; a vector, such as `tables.one_hot` makes, takes as many places as it has
    numbers) and writes the column *into*, of type *dtype* and shape `[places]`.

    Errors: `invalid_input` for text or missing values (`tables.fill` replaces them), and for a fraction, NaN or
    infinity where *dtype* is `int64`.

    Example:
        in: {width: [1.5, 2.0], height: [3, 4]}
        params: {columns: [height, width], into: X}
        out: {X: [[3.0, 1.5], [4.0, 2.0]]}
    """
    parts = []
    for name, column in zip(columns, given, strict=True):
        part = numbers(column, name)
        if not isinstance(part, np.ndarray):  # integers beside fractions
            part = each(part, lambda array: array.astype(np.float64))
        if not isinstance(part, np.ndarray) or part.ndim > 2:
            raise InvalidInput(f"column {name!r} wants one number, or equally many, in each row")
        if dtype == "int64" and part.dtype.kind == "f" and not np.array_equal(part, np.trunc(part)):
            raise InvalidInput(f"column {name!r} holds fractions; int64 is wanted")
        parts.append(part.reshape(len(part), -1))
    selected = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), dtype)
    place = 0
    with np.errstate(over="ignore"):  # beyond float32 lies infinity
        for part in parts:  # written into place: ten times as fast as to convert and then to concatenate
            selected[:, place : place + part.shape[1]] = part
            place += part.shape[1]
    return selected


def _fill_reads(*, values: Mapping[str, Any]) -> Specs:
    return {
        name: TensorSpec("string" if isinstance(value, str) else "number", (-1,), optional=True)
        for name, value in values.items()
    }


def _fill_specs(reads: Specs, *, values: Mapping[str, Any]) -> Specs:
    for name, value in values.items():
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"wants a number or a text for {name!r}, not {value!r}")
    return {
        name: TEXT if isinstance(values[name], str) else TensorSpec(_kept(spec), spec.shape)
        for name, spec in reads.items()
    }


def _kept(spec: TensorSpec) -> str:
    return spec.dtype if spec.dtype in NUMBERS else "float64"


def _same_columns(*, values: Mapping[str, Any]) -> Specs:
    return dict.fromkeys(values, ANYTHING)


@step(reads=_fill_reads, writes=_same_columns, flow=_fill_specs, any_shape=True, pure=True)
def fill(*given: Column, values: Mapping[str, Any]) -> dict[str, Column]:
    """Put values where a table has none: null, NaN, or no such column in the row.

    Reads and writes the columns named in *values*, which maps each to its replacement. Columns of numbers that
    come as JSON become float64; arrays keep their type. An input of the pipeline becomes optional.

    Errors: `invalid_input` for text in a column of numbers, or the other way round.

    Example:
        in: {age: [31.0, null], city: [null, Oslo]}
        params: {values: {age: 40, city: unknown}}
        out: {age: [31.0, 40.0], city: [unknown, Oslo]}
    """
    columns = zip(given, values.items(), strict=True)
    return {name: _complete(column, name, value) for column, (name, value) in columns}


def _complete(column: Column, name: str, value: Any) -> Column:
    if isinstance(value, str):
        whole = [value if _missing(item) else item for item in column]
        return to_column(whole, TensorSpec("string", (-1,), name))
    if isinstance(column, np.ndarray) and column.dtype.kind in NUMERIC:
        return np.where(np.isnan(column), column.dtype.type(value), column) if column.dtype.kind == "f" else column
    return _doubles([value if _missing(item) else item for item in column], name)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


Ranges = Mapping[str, tuple[float, float]]
Method = Literal["standard", "min_max"]


def _scale_reads(*, columns: Ranges, method: Method = "standard") -> Specs:
    return dict.fromkeys(columns, ONE_NUMBER)


def _scaled(reads: Specs, *, columns: Ranges, method: Method = "standard") -> Specs:
    for name, (first, second) in columns.items():
        if method == "standard" and second <= 0:
            raise ValueError(f"wants [mean, standard deviation] for {name!r}, not {[first, second]}")
        if method == "min_max" and second <= first:
            raise ValueError(f"wants [smallest, largest] for {name!r}, not {[first, second]}")
    return dict.fromkeys(columns, ONE_NUMBER)


@step(reads=_scale_reads, writes=_scale_reads, flow=_scaled, pure=True)
def scale(*given: Column, columns: Ranges, method: Method = "standard") -> dict[str, Column]:
    """Bring columns to a common range.

    Reads and writes the columns named in *columns* (one number a row; float64). Each maps to two numbers: with
    *method* `standard` the mean, which is subtracted, and the standard deviation, which divides; with `min_max` the
    values that become 0 and 1 (values beyond them lie beyond 0 and 1).

    Errors: `invalid_input` for text or missing values.

    Example:
        in: {age: [30, 50]}
        params: {columns: {age: [40, 5]}}
        out: {age: [-2.0, 2.0]}
    """
    scaled: dict[str, Column] = {}
    for column, (name, (first, second)) in zip(given, columns.items(), strict=True):
        spread = second if method == "standard" else second - first
        scaled[name] = each(_doubles(column, name), lambda array, a=first, b=spread: (array - a) / b)  # type: ignore[misc]  # mypy infers none with defaults
    return scaled


Categories = Mapping[str, list[Category]]
Unknown = Literal["error", "zeros"]


def _hot_reads(*, categories: Categories, unknown: Unknown = "error") -> Specs:
    return {
        name: TensorSpec("string" if all(isinstance(value, str) for value in values) else "any", (-1,))
        for name, values in categories.items()
    }


def _hot_specs(reads: Specs, *, categories: Categories, unknown: Unknown = "error") -> Specs:
    for name, values in categories.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"wants a list of different categories for {name!r}, not {values}")
    return {name: TensorSpec("float32", (-1, len(values))) for name, values in categories.items()}


@step(reads=_hot_reads, writes=_hot_reads, flow=_hot_specs, pure=True)
def one_hot(*given: Column, categories: Categories, unknown: Unknown = "error") -> dict[str, Column]:
    """Turn each category into a vector with a single 1.

    Reads the columns named in *categories* (text, integers or booleans; one a row) and writes the same columns as
    float32 `[number of categories]`, in the order in which *categories* lists them.

    Errors: `invalid_input` for a value that is not listed; with *unknown* `zeros` it becomes a vector of zeros.

    Example:
        in: {colour: [green, red]}
        params: {categories: {colour: [red, green, blue]}}
        out: {colour: [[0, 1, 0], [1, 0, 0]]}
    """
    columns = zip(given, categories.items(), strict=True)
    return {name: _hot(column, name, values, unknown) for column, (name, values) in columns}


def _hot(column: Column, name: str, categories: list[Category], unknown: Unknown) -> Array:
    places: dict[tuple[bool, Any], int] = {
        (isinstance(value, bool), value): place for place, value in enumerate(categories)
    }
    result = np.zeros((len(column), len(categories)), np.float32)
    for row, value in enumerate(column.tolist() if isinstance(column, np.ndarray) else column):
        place = places.get((isinstance(value, bool), value)) if isinstance(value, (str, int, float)) else None
        if place is not None:
            result[row, place] = 1
        elif unknown == "error":
            listed = ", ".join(map(str, categories[:20]))
            raise InvalidInput(f"column {name!r} holds {str(value)[:40]!r}; the categories are: {listed}")
    return result


Edges = Mapping[str, list[float]]


def _bin_reads(*, edges: Edges) -> Specs:
    return dict.fromkeys(edges, ONE_NUMBER)


def _binned(reads: Specs, *, edges: Edges) -> Specs:
    for name, values in edges.items():
        if not values or any(low >= high for low, high in pairwise(values)):
            raise ValueError(f"wants rising edges for {name!r}, not {values}")
    return dict.fromkeys(edges, TensorSpec("int64", (-1,)))


@step(reads=_bin_reads, writes=_bin_reads, flow=_binned, pure=True)
def bin(*given: Column, edges: Edges) -> dict[str, Column]:
    """Replace numbers by the number of the interval that they fall into.

    Reads and writes the columns named in *edges* (one number a row; int64 afterwards). Below the first edge lies
    interval 0, from each edge on the next one: `n` edges make `n + 1` intervals.

    Errors: `invalid_input` for NaN, text or missing values.

    Example:
        in: {age: [17, 18, 70]}
        params: {edges: {age: [18, 65]}}
        out: {age: [0, 1, 2]}
    """
    binned: dict[str, Column] = {}
    for column, (name, values) in zip(given, edges.items(), strict=True):
        array = _doubles(column, name)
        if np.isnan(array).any():
            raise InvalidInput(f"column {name!r} holds NaN, which lies in no interval; tables.fill replaces it")
        binned[name] = np.digitize(array, values).astype(np.int64)
    return binned
