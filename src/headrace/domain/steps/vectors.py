"""Steps for embeddings and other vectors."""

from __future__ import annotations

from typing import Literal

import numpy as np

from headrace.domain.step import Specs, step
from headrace.domain.steps.number_columns import each, floating_spec, floats
from headrace.domain.tensors import NUMBER, Array, Column

Norm = Literal["l2", "l1", "max"]


def _normalized(reads: Specs, *, norm: Norm = "l2") -> Specs:
    shape = reads["embeddings"].shape
    if shape is not None and len(shape) < 2:
        raise ValueError("wants vectors; the column holds single numbers")
    return {"embeddings": floating_spec(reads["embeddings"])}


@step(reads={"embeddings": NUMBER}, flow=_normalized, flexible=True, pure=True)
def normalize(embeddings: Column, *, norm: Norm = "l2") -> Column:
    """Divide every vector by its length, so that a product of two is their cosine.

    Reads and writes one column of vectors (the last axis), float32 unless it is of another float type. *norm* is
    `l2` (root of the sum of squares), `l1` (sum of absolute values) or `max`. A vector of zeros stays as it is.

    Example:
        in: {embeddings: [[3.0, 4.0], [0.0, 0.0]]}
        out: {embeddings: [[0.6, 0.8], [0.0, 0.0]]}
    """

    def one(array: Array) -> Array:
        wide = array.astype(np.float64)  # the square of a large float32 is infinite
        length = np.linalg.norm(wide, {"l2": 2, "l1": 1, "max": np.inf}[norm], axis=-1, keepdims=True)
        result: Array = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0).astype(array.dtype)
        return result

    return each(floats(embeddings, "embeddings"), one)
