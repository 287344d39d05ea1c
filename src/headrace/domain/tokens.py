"""How many tokens has each row of a batch? Known where the model reads token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.domain.batch import Batch

IDS, MASK = "input_ids", "attention_mask"


def tokens_per_row(batch: Batch) -> Sequence[int] | None:
    """The tokens of every original row of *batch*, 0 for one that has left; None where nothing tells.

    A mask says which places of padded ids count; without one a row has as many tokens as ids.
    """
    try:
        counts = _counts(batch)
    except (TypeError, ValueError):  # a model is free to call something else its input_ids
        return None
    if counts is None or not batch.failures:
        return counts
    whole = [0] * (batch.size + len(batch.failures))
    for count, position in zip(counts, batch.positions or (), strict=True):
        whole[position] = count
    return whole


def _counts(batch: Batch) -> list[int] | None:
    ids, mask = batch.columns.get(IDS), batch.columns.get(MASK)
    if mask is not None:
        if isinstance(mask, np.ndarray) and mask.dtype != object:
            return [int(count) for count in mask.reshape(len(mask), -1).sum(axis=1)]
        return [int(np.sum(np.asarray(row))) for row in mask]
    if ids is None:
        return None
    return [int(np.size(row)) for row in ids]
