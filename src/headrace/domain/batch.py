"""The small table that all three speeds have in common: named columns of equal length, and the rows that failed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from headrace.domain.errors import EngineError, InvalidInput, ModelFailure
from headrace.domain.tensors import Column

Row = dict[str, Any]
Outcome = Row | EngineError


class Batch:
    """Named columns of equal length, one row per item in flight, and the failures of rows that left.

    *columns* map a name to a NumPy array whose axis 0 is the row, or to a list with one object per row. *size* is
    the number of rows still in flight. *positions* are their original numbers (None: nothing has left yet) and
    *failures* hold the error of every row that left, by its original number. Batches are immutable: every method
    returns another one that shares the columns it did not change.
    """

    __slots__ = ("columns", "failures", "positions", "size")

    def __init__(
        self,
        columns: Mapping[str, Column],
        size: int | None = None,
        *,
        failures: Mapping[int, EngineError] | None = None,
        positions: tuple[int, ...] | None = None,
    ) -> None:
        if size is None:
            size = len(next(iter(columns.values()))) if columns else 0
        for name, column in columns.items():
            if len(column) != size:
                raise ModelFailure(f"column {name!r} has {len(column)} rows where {size} are in the batch")
        self.columns = columns
        self.size = size
        self.failures = failures or {}
        self.positions = positions

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Make list columns of *rows*, which must all have the same keys."""
        names = rows[0].keys() if rows else ()
        for row in rows:
            if row.keys() != names:
                raise InvalidInput(f"rows differ in their columns: {sorted(names)} and {sorted(row)}")
        return cls({name: [row[name] for row in rows] for name in names}, len(rows))

    @classmethod
    def concat(cls, batches: Sequence[Batch]) -> Batch:
        """Stack batches that have the same columns; none of them may have lost a row."""
        if len(batches) == 1:
            return batches[0]
        names = batches[0].columns
        joined = {name: join_columns([batch.columns[name] for batch in batches]) for name in names}
        return cls(joined, sum(batch.size for batch in batches))

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"Batch({self.size} rows of {', '.join(self.columns) or 'nothing'}; {len(self.failures)} failed)"

    def with_columns(self, **columns: Column) -> Batch:
        """This batch with *columns* added or replaced."""
        return self._like({**self.columns, **columns})

    def select(self, names: Sequence[str]) -> Batch:
        """This batch with the columns *names* alone."""
        return self._like({name: self.columns[name] for name in names})

    def _like(self, columns: Mapping[str, Column]) -> Batch:
        return Batch(columns, self.size, failures=self.failures, positions=self.positions)

    def take(self, start: int, stop: int) -> Batch:
        """Rows *start* to *stop* (of those in flight) as a batch of its own, numbered from zero."""
        return Batch({name: column[start:stop] for name, column in self.columns.items()}, stop - start)

    def split(self, sizes: Sequence[int]) -> list[Batch]:
        """Consecutive parts of the given *sizes*, which must add up to the size of the batch."""
        parts, start = [], 0
        for size in sizes:
            parts.append(self.take(start, start + size))
            start += size
        if start != self.size:
            raise ValueError(f"sizes add up to {start}, the batch has {self.size} rows")
        return parts

    def without(self, errors: Mapping[int, EngineError]) -> Batch:
        """This batch less the rows in *errors* (by their number among those in flight now), which have failed."""
        if not errors:
            return self
        kept = [row for row in range(self.size) if row not in errors]
        original = self.positions or range(self.size)
        failures = {**self.failures, **{original[row]: error for row, error in errors.items()}}
        columns = {name: pick_rows(column, kept) for name, column in self.columns.items()}
        return Batch(columns, len(kept), failures=failures, positions=tuple(original[row] for row in kept))

    def followed_by(self, done: Batch) -> Batch:
        """*done*, made of the rows in flight numbered from zero, under their numbers and beside the failures here."""
        if not self.failures and (done.positions is not None or not done.failures):
            return done
        left = self.without(done.failures)
        return Batch(done.columns, left.size, failures=left.failures, positions=left.positions)

    def copy(self) -> Batch:
        """This batch with values of its own, for code that may change them in place."""
        return self._like({name: copy.deepcopy(column) for name, column in self.columns.items()})

    def rows(self) -> Iterator[Row]:
        """The rows in flight, in order; arrays give their slices, not copies."""
        names = list(self.columns)
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(names, values, strict=True))

    def outcomes(self) -> list[Outcome]:
        """A row or an error for each original row, in the order asked."""
        rows = list(self.rows()) if self.columns else [{} for _ in range(self.size)]
        if not self.failures:
            return list(rows)
        answers: list[Outcome] = [ModelFailure("the row was lost")] * (self.size + len(self.failures))
        for row, position in zip(rows, self.positions or (), strict=True):
            answers[position] = row
        for position, error in self.failures.items():
            answers[position] = error
        return answers


def join_columns(columns: Sequence[Column]) -> Column:
    """One column of several: arrays of equal row shape and type are stacked, everything else becomes a list."""
    first = columns[0]
    if all(
        isinstance(column, np.ndarray)
        and isinstance(first, np.ndarray)
        and column.shape[1:] == first.shape[1:]
        and column.dtype == first.dtype
        for column in columns
    ):
        return np.concatenate(columns)
    return list(chain.from_iterable(columns))


def pick_rows(column: Column, rows: Sequence[int]) -> Column:
    """The given rows of a column, in that order."""
    if isinstance(column, np.ndarray):
        return column[list(rows)]
    return [column[row] for row in rows]


def extent(column: object) -> int | None:
    """How many rows a column has; None for what is no column (a scalar, a mapping ...)."""
    if isinstance(column, list) or (isinstance(column, np.ndarray) and column.ndim > 0):
        return len(column)
    return None
