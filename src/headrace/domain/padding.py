"""Rows that differ in length in one call of a model: which share it, how they are filled up and how cut back."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from math import prod
from typing import Any

import numpy as np

from headrace.domain.spec import Batching
from headrace.domain.step import Specs, as_column
from headrace.domain.tensors import Array, Column, TensorSpec

Extent = tuple[int, ...]
"""How long one row is: the sizes of its free axes, over all the columns that are filled up, one after another."""


@dataclass(frozen=True, slots=True)
class PaddedColumn:
    """One input that is filled up with *value*. *axes* are the free ones among those of a row; *start* is where
    their sizes stand in an `Extent`, and *fixed* how many values there are at one place of them."""

    name: str
    value: float
    row_shape: tuple[int, ...]
    axes: tuple[int, ...]
    start: int

    @property
    def fixed(self) -> int:
        """The values of a row whose free axes are all 1."""
        return prod(size for size in self.row_shape if size >= 0)

    @property
    def places(self) -> slice:
        """Where the sizes of its free axes stand in an `Extent`."""
        return slice(self.start, self.start + len(self.axes))


@dataclass(frozen=True, slots=True)
class Part:
    """The *rows* (numbers, ascending) that make one call, filled up to *target*, and how long each of them was."""

    rows: Sequence[int]
    columns: Mapping[str, Column]
    extents: Sequence[Extent]
    target: Extent


class Cells:
    """How many values went into the model, and how many of them were there before rows were filled up."""

    def __init__(self) -> None:
        self.real = 0
        self.padded = 0
        self._lock = threading.Lock()

    def add(self, real: int, padded: int) -> None:
        """Count one call: *padded* includes *real*."""
        with self._lock:
            self.real += real
            self.padded += padded

    def kinds(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """The values that were there, and those that were filled in, each with its name."""
        with self._lock:
            return ("real", self.real), ("padding", self.padded - self.real)

    @property
    def waste(self) -> float:
        """The share of the values that was filling, from 0 to 1."""
        return 1 - self.real / self.padded if self.padded else 0.0


class Padding:
    """The padding that a pipeline declares: *inputs* and *outputs* are the model's columns, row axis first."""

    def __init__(self, batching: Batching, inputs: Specs, outputs: Specs) -> None:
        self.columns = tuple(_columns(batching.pad, inputs))
        self.cells = Cells()
        self._buckets = batching.buckets
        self._max_waste = batching.max_waste
        self._followers = dict(_followers(batching, self.columns, outputs))

    def bucketed(self, extent: Extent) -> Extent:
        """*extent* with each size as the next bucket; what is beyond the last bucket, or without any, stays."""
        buckets = self._buckets
        if not buckets:
            return extent
        return tuple(buckets[at] if (at := bisect_left(buckets, size)) < len(buckets) else size for size in extent)

    def cells_of(self, extent: Extent) -> int:
        """How many values a row of *extent* has in the columns that are filled up."""
        return sum(column.fixed * prod(extent[column.places]) for column in self.columns)

    def shares(self, own: int, joint: int) -> bool:
        """Whether rows that need *own* cells by themselves may be filled up to *joint* cells for company's sake."""
        return own >= (1 - self._max_waste) * joint

    def parts(self, given: Mapping[str, Column]) -> list[Part]:
        """The calls that the rows of *given* make: as few as `shares` allows, each filled up to its longest row."""
        extents = self._extents(given)
        parts = []
        for rows, target in self._grouped(extents):
            columns = {name: _picked(column, rows) for name, column in given.items()}
            for column in self.columns:
                columns[column.name] = _filled(columns[column.name], column, target)
            own = [extents[row] for row in rows]
            self.cells.add(sum(map(self.cells_of, own)), len(rows) * self.cells_of(target))
            parts.append(Part(rows, columns, own, target))
        return parts

    def joined(self, answers: Sequence[tuple[Part, Mapping[str, Column]]], names: Iterable[str]) -> dict[str, Column]:
        """The columns *names* of all *answers*, cut back to the rows' own lengths and in the order of the rows."""
        return {name: _in_order([(part, self._cut(name, part, answer[name])) for part, answer in answers])
                for name in names}  # fmt: skip

    def _extents(self, given: Mapping[str, Column]) -> list[Extent]:
        sizes = []
        for column in self.columns:
            rows = given[column.name]
            if isinstance(rows, np.ndarray):
                sizes.append([tuple(rows.shape[axis + 1] for axis in column.axes)] * len(rows))
            else:
                sizes.append([tuple(row.shape[axis] for axis in column.axes) for row in rows])
        return [tuple(chain.from_iterable(row)) for row in zip(*sizes, strict=True)]

    def _grouped(self, extents: Sequence[Extent]) -> list[tuple[list[int], Extent]]:
        """Rows that make one call, and what they are filled up to; the largest are grouped first."""
        alike: dict[Extent, list[int]] = {}
        for row, extent in enumerate(extents):
            alike.setdefault(self.bucketed(extent), []).append(row)
        groups: list[tuple[list[int], Extent]] = []
        own = 0
        for extent in sorted(alike, key=self.cells_of, reverse=True):
            rows = alike[extent]
            cells = len(rows) * self.cells_of(extent)
            if groups:
                before, target = groups[-1]
                wider = widest(target, extent)
                if self.shares(own + cells, (len(before) + len(rows)) * self.cells_of(wider)):
                    groups[-1] = (before + rows, wider)
                    own += cells
                    continue
            groups.append((rows, extent))
            own = cells
        return [(sorted(rows), target) for rows, target in groups]

    def _cut(self, name: str, part: Part, values: Column) -> Column:
        follows = self._followers.get(name)
        if follows is None:
            return values
        column, axes = follows
        target = part.target[column.places]
        own = [extent[column.places] for extent in part.extents]
        if all(extent == target for extent in own):
            return values
        if isinstance(values, np.ndarray) and own.count(own[0]) == len(own):
            cut: Array = values[(slice(None), *_ends(values.shape[1:], axes, own[0], target))]
            return cut
        return [row[_ends(np.shape(row), axes, extent, target)] for row, extent in zip(values, own, strict=True)]


def widest(one: Extent, other: Extent) -> Extent:
    """What rows of both extents fit in."""
    return tuple(map(max, one, other)) if one else other


def free_axes(spec: TensorSpec) -> tuple[int, ...]:
    """The axes of a row that may have any size; none where the shape is unknown."""
    return tuple(axis for axis, size in enumerate(spec.row_shape or ()) if size < 0)


def _columns(pad: Mapping[str, float], inputs: Specs) -> Iterable[PaddedColumn]:
    start = 0
    for name, value in pad.items():
        axes = free_axes(inputs[name])
        yield PaddedColumn(name, value, inputs[name].row_shape or (), axes, start)
        start += len(axes)


def _followers(
    batching: Batching, columns: Sequence[PaddedColumn], outputs: Specs
) -> Iterable[tuple[str, tuple[PaddedColumn, dict[int, int]]]]:
    """The outputs that are cut back: the input that each follows, and which of its free axes each of theirs is.

    Where rows are filled up along one axis, every free axis of an output is that one; where along several, they are
    those in order.
    """
    named = {column.name: column for column in columns}
    follow = dict.fromkeys(outputs, columns[0].name) if batching.unpad == "auto" else batching.unpad
    for name, source in follow.items():
        column = named[source]
        axes = free_axes(outputs[name])
        if axes and len(column.axes) == 1:
            yield name, (column, dict.fromkeys(axes, 0))
        elif axes and len(axes) == len(column.axes):
            yield name, (column, {axis: place for place, axis in enumerate(axes)})


def _picked(column: Column, rows: Sequence[int]) -> Column:
    if len(rows) == len(column):
        return column
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]


def _filled(values: Column, column: PaddedColumn, target: Extent) -> Array:
    """One array of the rows, each with its free axes as long as *target* says."""
    shape = list(column.row_shape)
    for axis, size in zip(column.axes, target[column.places], strict=True):
        shape[axis] = size
    if isinstance(values, np.ndarray):
        if values.shape[1:] == tuple(shape):
            return values
        filled = np.full((len(values), *shape), column.value, values.dtype)
        filled[(slice(None), *map(slice, values.shape[1:]))] = values
        return filled
    filled = np.full((len(values), *shape), column.value, values[0].dtype)
    for row, value in enumerate(values):
        filled[row][tuple(map(slice, value.shape))] = value
    return filled


def _ends(shape: Sequence[int], axes: Mapping[int, int], own: Extent, target: Extent) -> tuple[slice, ...]:
    """Where a row of *shape* ends on each axis: what came back as long as the filling made it loses the filling."""
    return tuple(
        slice(own[axes[axis]]) if axis in axes and size == target[axes[axis]] else slice(None)
        for axis, size in enumerate(shape)
    )


def _in_order(parts: Sequence[tuple[Part, Column]]) -> Column:
    if len(parts) == 1:
        return parts[0][1]
    placed: list[Any] = [None] * sum(len(part.rows) for part, _ in parts)
    for part, values in parts:
        for row, value in zip(part.rows, islice(values, len(part.rows)), strict=True):
            placed[row] = value
    return as_column(placed)
