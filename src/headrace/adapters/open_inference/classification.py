"""Which classes have the highest scores, in the form that the protocol's classification extension gives them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from headrace.adapters.open_inference.outputs import Tensor, as_array
from headrace.domain.errors import InvalidRequest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Array, Column


def classified(name: str, column: Column, count: int, pipeline: Pipeline) -> Tensor:
    """The *count* classes with the highest scores, best first: BYTES ``value:index``, with ``:label`` if it is known.

    Each row's scores are taken as one flat list. The shape is (rows, classes), without a batch axis (classes,).
    Labels are those of the pipeline's own postprocessing. Raises InvalidRequest for an output that holds no scores.
    """
    scores = as_array(column, batched=pipeline.batched)
    if scores.dtype.kind not in "iuf":
        raise InvalidRequest(f"output {name!r} holds no scores, so it cannot be classified")
    rows = scores.reshape(len(scores), prod(scores.shape[1:])) if pipeline.batched else scores.reshape(1, -1)
    label = _labels(pipeline, rows.shape[1])
    kept = min(count, rows.shape[1])
    values = [element for row in rows for element in _best(row, kept, label)]
    return Tensor(name, "BYTES", (len(rows), kept) if pipeline.batched else (kept,), values)


def _best(row: Array, count: int, label: Callable[[int], str]) -> Sequence[bytes]:
    # Of equal scores the first goes first; NaN, which is greater than nothing, last.
    order = np.argsort(-row.astype(np.float64), kind="stable")[:count].tolist()
    return [f"{row[index]!s}:{index}{label(index)}".encode() for index in order]


def _labels(pipeline: Pipeline, classes: int) -> Callable[[int], str]:
    """What stands behind the number of a class: a colon and its label, or nothing."""
    for step in pipeline.spec.postprocessing:
        labels: Any = step.params.get("labels")
        if isinstance(labels, list | tuple | Mapping) and len(labels) == classes:
            known = (
                dict(enumerate(labels)) if not isinstance(labels, Mapping) else {int(k): v for k, v in labels.items()}
            )
            return lambda index: f":{known[index]}" if index in known else ""
    return lambda index: ""
