"""Steps between numbers and the tokens of a model that works on bins, and back to the unit of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.domain.errors import InvalidConfig, InvalidInput, ModelFailure
from headrace.domain.step import Context, Specs, step
from headrace.domain.steps.number_columns import each, floating_spec, floats, numbers
from headrace.domain.tensors import NUMBER, Array, Column, TensorSpec


def _binned(reads: Specs, *, num_bins: int, offset: int = 0, low: float = 0.0, high: float = 1.0) -> Specs:
    _check(num_bins, offset, low, high)
    return {"input_ids": TensorSpec("int64", reads["values"].shape)}


def _check(num_bins: int, offset: int, low: float, high: float) -> None:
    if num_bins < 1 or offset < 0:
        raise ValueError(f"wants num_bins of at least 1 and offset of at least 0, not {num_bins} and {offset}")
    if low >= high:
        raise ValueError(f"wants low below high, not {low} and {high}")


@step(reads={"values": NUMBER}, writes=["input_ids"], flow=_binned, flexible=True, pure=True)
def quantize_input(
    values: Column, *, num_bins: int, offset: int = 0, low: float = 0.0, high: float = 1.0
) -> Column:  # fmt: skip
    """Turn numbers into tokens: the number of the bin, of *num_bins* equal ones between *low* and *high*.

    Reads `values` (numbers of any shape) and writes `input_ids` (int64, the same shape), from *offset* to
    `offset + num_bins - 1`: the tokens below *offset* are free for markers. What lies beyond *low* or *high* goes
    into the first or last bin.

    Errors: `invalid_input` for NaN.

    Example:
        in: {values: [[0.0, 0.5, 1.0, 7.0]]}
        params: {num_bins: 4, offset: 3}
        out: {input_ids: [[3, 5, 6, 6]]}
    """

    def one(array: Array) -> Array:
        if np.isnan(array).any():
            raise InvalidInput("column 'values' holds NaN, which lies in no bin")
        share = (np.clip(array.astype(np.float64), low, high) - low) / (high - low)
        return np.minimum(share * num_bins, num_bins - 1).astype(np.int64) + offset

    return each(floats(values, "values"), one)


def _restored(reads: Specs, *, num_bins: int, offset: int = 0, low: float = 0.0, high: float = 1.0) -> Specs:
    _check(num_bins, offset, low, high)
    seen = reads["logits"]
    if seen.shape is None:
        return {"values": TensorSpec("float32", None)}
    return {
        "values": TensorSpec("float32", seen.shape[:-1] if _are_scores(seen.dtype, len(seen.shape)) else seen.shape)
    }


def _are_scores(dtype: str, rank: int) -> bool:
    """Integers are tokens; everything else holds a score for each token on its last axis."""
    return rank > 1 and not dtype.startswith(("int", "uint"))


@step(reads={"logits": NUMBER}, writes=["values"], flow=_restored, flexible=True, pure=True)
def dequantize_output(
    logits: Column, *, num_bins: int, offset: int = 0, low: float = 0.0, high: float = 1.0
) -> Column:  # fmt: skip
    """Turn tokens back into numbers: the middle of each token's bin.

    Reads `logits` (scores, of which the best on the last axis is the token; integers are tokens themselves) and
    writes `values` (float32, without that axis). Tokens that are no bins, markers below *offset* say, become NaN.
    The parameters are those of `quantize_input`, and so numbers come back within half a bin.

    Example:
        in: {logits: [[3, 4, 5, 6]]}
        params: {num_bins: 4, offset: 3}
        out: {values: [[0.125, 0.375, 0.625, 0.875]]}
    """

    def one(array: Array) -> Array:
        tokens = array.argmax(axis=-1) if _are_scores(array.dtype.name, array.ndim) else array
        bins = tokens.astype(np.float64) - offset
        middle = low + (bins + 0.5) * ((high - low) / num_bins)
        return np.where((bins >= 0) & (bins < num_bins), middle, np.nan).astype(np.float32)

    return each(numbers(logits, "logits"), one)


def _denormalized(reads: Specs, *, stats: str = "stats") -> Specs:
    return {"values": floating_spec(reads["values"])}


@step(reads={"values": NUMBER}, flow=_denormalized, flexible=True, pure=True)
def denormalize(values: Column, context: Context, *, stats: str = "stats") -> Column:
    """Bring normalised numbers back to the unit of the data.

    Reads and writes `values` (numbers of any shape, float32 unless of another float type). The statistics are the
    pipeline's value *stats*, which a step with `source: database` reads from a table: with the columns `mean` and
    `std` it computes `value * std + mean`, with `min` and `max` it computes `min + value * (max - min)`. A table of
    one row is for all numbers; one of several rows belongs to the positions of the last axis, in order.

    Errors: `invalid_config` when there are no statistics or they lack these columns; `model_failure` when the last
    axis has another length.

    Example:
        in: {values: [[0.0, 0.5, 1.0]]}
        values: {stats: {mean: [10.0], std: [2.0]}}
        out: {values: [[10.0, 11.0, 12.0]]}
    """
    factor, offset = _statistics(context.values.get(stats), stats)

    def one(array: Array) -> Array:
        if factor.size not in (1, array.shape[-1] if array.ndim > 1 else 1):
            raise ModelFailure(f"{stats!r} has {factor.size} rows; the values have the shape {list(array.shape[1:])}")
        result: Array = (array * factor + offset).astype(array.dtype)
        return result

    return each(floats(values, "values"), one)


def _statistics(table: Any, name: str) -> tuple[Array, Array]:
    """What to multiply by and what to add, from a mapping of columns or a list of rows."""
    if table is None:
        raise InvalidConfig(f"there is no value {name!r}; add a step with source: database, a query and as: {name}")
    for first, second in (("mean", "std"), ("min", "max")):
        low, high = _column(table, first), _column(table, second)
        if low is not None and high is not None:
            return (high, low) if first == "mean" else (high - low, low)
    raise InvalidConfig(f"the value {name!r} has neither the columns mean and std nor min and max")


def _column(table: Any, name: str) -> Array | None:
    if isinstance(table, Mapping):
        found = table.get(name)
    elif isinstance(table, Sequence) and all(isinstance(row, Mapping) and name in row for row in table):
        found = [row[name] for row in table]
    else:
        found = None
    return None if found is None or np.size(found) == 0 else np.atleast_1d(np.asarray(found, np.float64))
