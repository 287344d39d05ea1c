"""Which requests may share a batch? Those whose options, columns, types and row shapes agree."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, Final

import numpy as np

from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs, RequestContext

NOTHING: Final[Mapping[str, Collection[int]]] = {}


def needs_key(pipeline: Pipeline) -> bool:
    """Whether requests to *pipeline* can differ in the type or the shape of a row once they are converted."""
    return any(_varies(spec) for spec in pipeline.inputs.values())


def _varies(spec: TensorSpec) -> bool:
    if not spec.numeric and spec.dtype not in ("string", "bytes"):
        return True
    return spec.row_shape is None or -1 in spec.row_shape


def sharing_key(inputs: Inputs, request: RequestContext, filled: Mapping[str, Collection[int]] = NOTHING) -> Hashable:
    """What must be equal among the requests of one batch.

    *filled* are the axes of a row, by column, whose sizes need not be: they are filled up.
    """
    return (
        repr(sorted(request.options.items())) if request.options else "",
        tuple((name, _layout(column, filled.get(name, ()))) for name, column in sorted(inputs.columns.items())),
    )


def _layout(column: Column, filled: Collection[int]) -> Hashable:
    if not isinstance(column, list):
        return (column.dtype.str, _without(filled, column.shape[1:]))
    layouts = {_without(filled, nesting(row)) if filled else _nesting(row) for row in column}
    # A request whose own rows differ fits nobody: what a model makes of them must not touch others.
    return next(iter(layouts), ()) if len(layouts) < 2 else object()


def _nesting(row: Any) -> Hashable:
    if not isinstance(row, list):
        return (row.dtype.str, row.shape) if hasattr(row, "dtype") else ()
    return nesting(row)


def nesting(row: Any) -> tuple[int, ...]:
    """The shape of a row of numbers, as far as its first elements tell it."""
    if not isinstance(row, list):
        return tuple(row.shape) if isinstance(row, np.ndarray) else ()
    lengths = []
    while isinstance(row, list):
        lengths.append(len(row))
        row = row[0] if row else None
    return tuple(lengths)


def _without(axes: Collection[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-1 if axis in axes else size for axis, size in enumerate(shape))
