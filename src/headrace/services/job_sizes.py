"""How many rows may one run of a job have, going by how large the answers of the last one were?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from headrace.domain.batch import Batch
from headrace.domain.tensors import Column

FIRST_ROWS: Final = 1024
"""Rows of the first run of all, which shows how large answers are."""
LARGEST_ANSWER: Final = 32 * 1024 * 1024
"""Bytes of answers that one run may give; where they are large, it gets fewer rows."""


def bearable_rows(answer: Batch, most: int) -> int:
    """How many rows, at least one and at *most* as many as that, would give an answer of a bearable size."""
    if answer.size == 0:
        return most
    per_row = sum(_weight(column) for column in answer.columns.values()) / answer.size
    return max(1, min(most, int(LARGEST_ANSWER / max(per_row, 1))))


def _weight(column: Column) -> int:
    """About how many bytes a column takes; of a list, going by a few of its rows."""
    if isinstance(column, np.ndarray):
        return column.nbytes
    sample: Sequence[Any] = column[:: max(1, len(column) // 8)]
    return sum(_bytes(value) for value in sample) * len(column) // max(1, len(sample))


def _bytes(value: Any) -> int:
    if isinstance(value, np.ndarray | np.generic):
        return value.nbytes
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(item) for item in value)
    return 8
