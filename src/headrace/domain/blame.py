"""Whose mistake is an answer that is no number: the model's, or that of values which are none themselves?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput, NoNumber
from headrace.domain.tensors import TensorSpec, to_column


def blamed(batch: Batch, done: Batch, inputs: Mapping[str, TensorSpec]) -> Batch:
    """*done*, what became of *batch*, with InvalidInput for each row that failed by NaN and was given NaN or infinity.

    Costs nothing where nothing failed so. *inputs* are what the pipeline takes: a number may be infinite only there.
    """
    given = {
        row: name
        for row, error in done.failures.items()
        if isinstance(error, NoNumber) and (name := _without_end(batch, row, inputs)) is not None
    }
    if not given:
        return done
    failures = {
        row: InvalidInput(f"input {given[row]!r} holds NaN, or a number beyond its range; {error.message}")
        if row in given
        else error
        for row, error in done.failures.items()
    }
    return Batch(done.columns, done.size, failures=failures, positions=done.positions)


def _without_end(batch: Batch, row: int, inputs: Mapping[str, TensorSpec]) -> str | None:
    """The first input whose value in *row* is not finite."""
    for name, spec in inputs.items():
        if name in batch.columns and spec.dtype.startswith("float"):
            value = np.asarray(to_column(batch.columns[name][row : row + 1], spec)[0])
            if not np.isfinite(value).all():
                return name
    return None
