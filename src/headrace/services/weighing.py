"""What does a request weigh in a batch, by the cost and the padding that its pipeline declares?"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headrace.domain.padding import Extent, PaddedColumn, Padding, widest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column
from headrace.services.context import Inputs
from headrace.services.sharing import nesting


@dataclass(frozen=True, slots=True)
class Weight:
    """One request: its *rows*, what it costs by itself, and the sizes of its longest row on the axes filled up."""

    rows: int
    cost: float = 0.0
    extent: Extent = ()


NOTHING: Final = Weight(0)
DEAREST: Final = 1e300
"""What a value beyond it costs, which may be no float at all."""


class Scales:
    """Weighs the requests to one pipeline, and several of them together."""

    def __init__(self, pipeline: Pipeline) -> None:
        batching = pipeline.spec.batching_or_default
        self.max_cost = math.inf if batching.max_cost is None else batching.max_cost
        self._cost = batching.cost
        self._padding = pipeline.padding
        self._visible = _visible(pipeline)
        self._by_length = next((column for column in self._visible if column.name == self._cost), None)

    @property
    def filled(self) -> Mapping[str, Collection[int]]:
        """The inputs that are filled up by the time the model gets them, and on which axes of a row."""
        return {column.name: column.axes for column in self._visible}

    @property
    def useful(self) -> bool:
        """Whether there is anything to weigh."""
        return bool(self._visible) or self._cost is not None

    def weigh(self, inputs: Inputs) -> Weight:
        """What one request weighs by itself."""
        extent = self._extent(inputs)
        if self._cost is None:
            return Weight(inputs.rows, 0.0, extent)
        if self._by_length is not None:
            return Weight(inputs.rows, self._filled_cost(inputs.rows, extent), extent)
        return Weight(inputs.rows, cost_of(inputs.columns[self._cost]), extent)

    def together(self, one: Weight, other: Weight) -> Weight:
        """What two weigh in one batch: with a cost of what is filled up, every row costs what the longest does."""
        rows = one.rows + other.rows
        extent = widest(one.extent, other.extent)
        cost = one.cost + other.cost if self._by_length is None else self._filled_cost(rows, extent)
        return Weight(rows, cost, extent)

    def cells(self, weight: Weight) -> int:
        """How many values the model gets for *weight*, filled up."""
        return weight.rows * self._cells_of(weight.extent)

    def shares(self, own: int, joint: int) -> bool:
        """Whether requests of *own* cells may be filled up to *joint* to be in one batch."""
        return self._padding is None or self._padding.shares(own, joint)

    def _extent(self, inputs: Inputs) -> Extent:
        extent: Extent = ()
        for column in self._visible:
            extent += _longest(inputs.columns[column.name], column)
        return extent

    def _bucketed(self, extent: Extent) -> Extent:
        return extent if self._padding is None else self._padding.bucketed(extent)

    def _cells_of(self, extent: Extent) -> int:
        cells, start = 0, 0
        sizes = self._bucketed(extent)
        for column in self._visible:
            stop = start + len(column.axes)
            cells += column.fixed * math.prod(sizes[start:stop])
            start = stop
        return cells

    def _filled_cost(self, rows: int, extent: Extent) -> float:
        start = 0
        for column in self._visible:
            if column is self._by_length:
                break
            start += len(column.axes)
        return rows * self._bucketed(extent[start : start + 1])[0]


def _visible(pipeline: Pipeline) -> tuple[PaddedColumn, ...]:
    """The inputs that reach the model as they came: a step that reads one would see rows of differing lengths."""
    padding: Padding | None = pipeline.padding
    if padding is None:
        return ()
    return tuple(one for one in padding.columns if one.name in pipeline.inputs and one.name not in pipeline.read_before)


def _longest(column: Column, padded: PaddedColumn) -> Extent:
    """The size of the longest row on each axis that is filled up; 0 for what is no list (it will be refused)."""
    shapes = [column.shape[1:]] if isinstance(column, np.ndarray) else [nesting(row) for row in column]
    return tuple(max((shape[axis] for shape in shapes if axis < len(shape)), default=0) for axis in padded.axes)


def cost_of(column: Column) -> float:
    """What the rows of *column* cost together: a number its value, everything else its length (text its letters)."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "biuf":
        if column.ndim > 1:
            return float(column.shape[0] * column.shape[1])
        return sum(map(_counted, column.tolist()))
    return sum(map(_counted, column))


def _counted(value: Any) -> float:
    if isinstance(value, (int, float)):
        if value != value:  # noqa: PLR0124 - `isnan` takes no integer beyond the floats
            return DEAREST  # nobody knows: it gets a batch of its own
        return float(min(max(value, 0), DEAREST))
    try:
        return float(len(value))
    except TypeError:
        return 0.0
