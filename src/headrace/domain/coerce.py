"""How the values of requests become the columns that a pipeline takes; a row that does not fit leaves alone."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.domain.batch import Batch, join_columns, pick_rows
from headrace.domain.errors import EngineError, InvalidInput
from headrace.domain.tensors import Column, TensorSpec, to_column

MISFITS = (InvalidInput, RecursionError)


def coerce(batch: Batch, specs: Mapping[str, TensorSpec]) -> Batch:
    """*batch* with every column as its spec says; rows that do not fit are among the failures.

    A column is converted at once, which nearly always works; when it does not, halves of it are, down to single rows.
    """
    columns: dict[str, Column] = {}
    for name, column in batch.columns.items():
        if name not in specs:
            columns[name] = column
            continue
        try:
            columns[name] = to_column(column, specs[name])
        except MISFITS:
            return _row_by_row(batch, specs)
    return Batch(columns, batch.size, failures=batch.failures, positions=batch.positions)


def _row_by_row(batch: Batch, specs: Mapping[str, TensorSpec]) -> Batch:
    """The same where some rows do not fit; each has the error of the first column that refuses it."""
    wrong: dict[str, dict[int, EngineError]] = {}
    columns = dict(batch.columns)
    for name in batch.columns.keys() & specs.keys():
        wrong[name] = {}
        columns[name] = join_columns(_fitting(batch.columns[name], specs[name], 0, wrong[name]) or [[]])
    errors = {row: error for name in reversed(list(batch.columns)) for row, error in wrong.get(name, {}).items()}
    good = [row for row in range(batch.size) if row not in errors]
    for name, column in columns.items():
        own = wrong.get(name, {})
        places = [row for row in range(batch.size) if row not in own] if own else range(batch.size)
        columns[name] = pick_rows(column, [place for place, row in enumerate(places) if row not in errors])
    return batch.followed_by(Batch(columns, len(good), failures=errors))


def _fitting(column: Column, spec: TensorSpec, first: int, errors: dict[int, EngineError]) -> list[Column]:
    """The parts of *column* that fit, in order; what does not fit is among the *errors*, counted from *first*."""
    if len(column) == 0:
        return []
    try:
        return [to_column(column, spec)]
    except MISFITS as error:
        if len(column) == 1:
            errors[first] = error if isinstance(error, EngineError) else InvalidInput("lists are nested too deep")
            return []
    half = len(column) // 2
    return _fitting(column[:half], spec, first, errors) + _fitting(column[half:], spec, first + half, errors)
