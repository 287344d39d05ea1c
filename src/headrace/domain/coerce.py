"""How the values of requests become the columns that a pipeline takes; a row that does not fit leaves alone."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidInput
from headrace.domain.tensors import TensorSpec, to_column


def coerce(batch: Batch, specs: Mapping[str, TensorSpec]) -> Batch:
    """*batch* with every column as its spec says; rows that do not fit are among the failures.

    All rows are converted at once, which nearly always works; only when it does not are they looked at singly.
    """
    try:
        return _converted(batch, specs)
    except (InvalidInput, RecursionError) as error:
        if batch.size == 1:
            return batch.without({0: _meant(error)})
    errors: dict[int, EngineError] = {}
    single: list[Batch] = []
    for row in range(batch.size):
        try:
            single.append(_converted(batch.take(row, row + 1), specs))
        except (InvalidInput, RecursionError) as error:
            errors[row] = _meant(error)
    if not single:
        return batch.without(errors)
    return batch.followed_by(Batch(Batch.concat(single).columns, len(single), failures=errors))


def _converted(batch: Batch, specs: Mapping[str, TensorSpec]) -> Batch:
    columns = {
        name: to_column(column, specs[name]) if name in specs else column for name, column in batch.columns.items()
    }
    return Batch(columns, batch.size, failures=batch.failures, positions=batch.positions)


def _meant(error: Exception) -> EngineError:
    return error if isinstance(error, EngineError) else InvalidInput("lists are nested too deep")
