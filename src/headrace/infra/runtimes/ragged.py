"""How does a model that wants one array answer rows that differ in shape? Group by group of equal shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from headrace.domain.tensors import Column

Predict = Callable[[Mapping[str, Column]], Mapping[str, Column]]


def by_shape(predict: Predict, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
    """Call *predict* once for each combination of row shapes, and put the answers back in the order asked.

    A column whose rows differ in shape is a list of arrays; every other column has the rows along axis 0. An output
    is one array where its rows have one shape, else a list of arrays.
    """
    ragged = {name: column for name, column in inputs.items() if isinstance(column, list)}
    if not ragged:
        return predict(inputs)
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for row, values in enumerate(zip(*ragged.values(), strict=True)):
        groups.setdefault(tuple(np.shape(value) for value in values), []).append(row)
    answers = [(rows, predict({name: _picked(column, rows) for name, column in inputs.items()}))
               for rows in groups.values()]  # fmt: skip
    return {name: _in_order([(rows, answer[name]) for rows, answer in answers]) for name in answers[0][1]}


def _picked(column: Column, rows: list[int]) -> Column:
    return np.stack([column[row] for row in rows]) if isinstance(column, list) else column[rows]


def _in_order(parts: list[tuple[list[int], Column]]) -> Column:
    placed = {row: value for rows, column in parts for row, value in zip(rows, column, strict=True)}
    values = [placed[row] for row in range(len(placed))]
    first = values[0]
    if isinstance(first, (np.ndarray, np.generic)) and all(value.shape == first.shape for value in values):
        return np.stack(values)
    return values
