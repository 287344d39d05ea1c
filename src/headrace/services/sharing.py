"""Which requests may share a batch? Those whose options, columns, types and row shapes agree."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs, RequestContext


def needs_key(pipeline: Pipeline) -> bool:
    """Whether requests to *pipeline* can differ in the type or the shape of a row once they are converted."""
    return any(_varies(spec) for spec in pipeline.inputs.values())


def _varies(spec: TensorSpec) -> bool:
    if not spec.numeric and spec.dtype not in ("string", "bytes"):
        return True
    return spec.row_shape is None or -1 in spec.row_shape


def sharing_key(inputs: Inputs, request: RequestContext) -> Hashable:
    """What must be equal among the requests of one batch."""
    return (
        repr(sorted(request.options.items())) if request.options else "",
        tuple((name, _layout(column)) for name, column in sorted(inputs.columns.items())),
    )


def _layout(column: Column) -> Hashable:
    if not isinstance(column, list):
        return (column.dtype.str, column.shape[1:])
    layouts = {_nesting(row) for row in column}
    # A request whose own rows differ fits nobody: what a model makes of them must not touch others.
    return next(iter(layouts), ()) if len(layouts) < 2 else object()


def _nesting(row: Any) -> Hashable:
    if not isinstance(row, list):
        return (row.dtype.str, row.shape) if hasattr(row, "dtype") else ()
    lengths = []
    while isinstance(row, list):
        lengths.append(len(row))
        row = row[0] if row else None
    return tuple(lengths)
