"""How the values of requests become the columns that a pipeline takes; a row that does not fit leaves alone."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidInput
from headrace.domain.tensors import TensorSpec, to_column


def coerce(batch: Batch, specs: Mapping[str, TensorSpec]) -> Batch:
    """*batch* with every column as its spec says; rows that do not fit are among the failures.

    All rows are converted at once, which nearly always works; when it does not, halves are, down to single rows.
    """
    try:
        return _converted(batch, specs)
    except (InvalidInput, RecursionError) as error:
        if batch.size == 1:
            return batch.without({0: _meant(error)})
    errors: dict[int, EngineError] = {}
    good: list[Batch] = []
    half = batch.size // 2
    _search(batch.take(0, half), specs, 0, good, errors)
    _search(batch.take(half, batch.size), specs, half, good, errors)
    if not good:
        return batch.without(errors)
    return batch.followed_by(Batch(Batch.concat(good).columns, batch.size - len(errors), failures=errors))


def _search(
    part: Batch, specs: Mapping[str, TensorSpec], first: int, good: list[Batch], errors: dict[int, EngineError]
) -> None:
    """Convert *part*, whose first row is the number *first* of its batch, or find the rows that cannot be."""
    try:
        good.append(_converted(part, specs))
    except (InvalidInput, RecursionError) as error:
        if part.size == 1:
            errors[first] = _meant(error)
            return
        half = part.size // 2
        _search(part.take(0, half), specs, first, good, errors)
        _search(part.take(half, part.size), specs, first + half, good, errors)


def _converted(batch: Batch, specs: Mapping[str, TensorSpec]) -> Batch:
    columns = {
        name: to_column(column, specs[name]) if name in specs else column for name, column in batch.columns.items()
    }
    return Batch(columns, batch.size, failures=batch.failures, positions=batch.positions)


def _meant(error: Exception) -> EngineError:
    return error if isinstance(error, EngineError) else InvalidInput("lists are nested too deep")
