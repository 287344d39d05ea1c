"""Makes the named inputs of a request complete: every column that the pipeline takes, and no other."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from headrace.domain.errors import EngineError, InvalidInput
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import TensorSpec, row_size, to_column
from headrace.domain.traces import let_go
from headrace.services.context import Inputs


def rows_to_inputs(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]]) -> Inputs:
    """Turn rows of named values, as JSON gives them, into columns.

    Optional inputs get their default, bytes columns are decoded from ``{"base64": ".."}``. A row that cannot be read
    is among the failures of the result; when none can, the first one's InvalidInput is raised. It names the row, the
    column and what would fit.
    """
    specs = pipeline.inputs
    good: list[Mapping[str, Any]] = []
    failures: dict[int, EngineError] = {}
    for number, row in enumerate(rows):
        try:
            good.append(_readable(row, specs, _at(number, rows)))
        except InvalidInput as error:
            failures[number] = error
    let_go(failures.values())
    if failures and not good:
        raise next(iter(failures.values()))
    columns = {name: [row.get(name, spec.default) for row in good] for name, spec in specs.items()}
    return Inputs(columns, len(good), failures)


def _readable(row: Any, specs: Mapping[str, TensorSpec], where: str) -> Mapping[str, Any]:
    """*row* with bytes decoded. Raises InvalidInput unless its columns are those of *specs*."""
    if not isinstance(row, Mapping):
        raise InvalidInput(f"inputs{where} must be an object of named values, not {row!r:.60}")
    if row.keys() != specs.keys():
        _require_known(row, specs, where)
    decoded: Mapping[str, Any] = row
    for name, value in row.items():
        if isinstance(value, Mapping) and value.keys() == {"base64"} and specs[name].dtype in ("bytes", "any"):
            decoded = {**decoded, name: _decoded(value["base64"], name)}
    return decoded


def complete(pipeline: Pipeline, inputs: Inputs) -> Inputs:
    """*inputs* with the defaults of optional columns.

    Raises InvalidInput for a missing or an unknown column, and for columns that differ in their number of rows.
    """
    for name, column in inputs.columns.items():
        if len(column) != inputs.rows:
            raise InvalidInput(
                f"input {name!r} has {len(column)} rows where the request has {inputs.rows}", details={"column": name}
            )
    if inputs.columns.keys() == pipeline.inputs.keys():
        return inputs
    _require_known(inputs.columns, pipeline.inputs, "")
    missing = {
        name: [spec.default] * inputs.rows for name, spec in pipeline.inputs.items() if name not in inputs.columns
    }
    return Inputs({**inputs.columns, **missing}, inputs.rows, inputs.failures)


def _at(number: int, rows: Sequence[object]) -> str:
    return f"[{number}]" if len(rows) > 1 else ""


def _require_known(given: Mapping[str, Any], specs: Mapping[str, TensorSpec], where: str) -> None:
    wanted = ", ".join(f"{name} ({spec.dtype})" for name, spec in specs.items()) or "none"
    for name in given:
        if name not in specs:
            raise InvalidInput(
                f"unknown input {name!r:.200} in inputs{where}{nearest(str(name), list(specs))}; "
                f"the pipeline takes: {wanted}",
                details={"column": str(name)[:200]},
            )
    for name, spec in specs.items():
        if name not in given and not spec.optional:
            raise InvalidInput(f"inputs{where} lacks {name!r}; the pipeline takes: {wanted}", details={"column": name})


def _decoded(text: Any, name: str) -> bytes:
    """Bytes from their JSON form."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidInput(f"input {name!r} is not valid base64", details={"column": name}) from None


WIDE: Final = 128
"""Numbers in a row from which on it is converted when it comes: in the thread of its batch it would hold the
interpreter, and with it the loop, for as long as the other rows of the batch take together."""


def wide_inputs(pipeline: Pipeline) -> dict[str, TensorSpec]:
    """The inputs of which a row alone is worth converting."""
    return {name: spec for name, spec in pipeline.inputs.items() if spec.numeric and (row_size(spec) or 0) >= WIDE}


def converted_early(inputs: Inputs, wide: Mapping[str, TensorSpec]) -> Inputs:
    """*inputs* with its *wide* list columns as arrays; one that cannot be converted is left to its batch to refuse."""
    columns: dict[str, Any] = {}
    for name, spec in wide.items():
        column = inputs.columns.get(name)
        if isinstance(column, list):
            with suppress(InvalidInput, RecursionError):
                columns[name] = to_column(column, spec)
    return Inputs({**inputs.columns, **columns}, inputs.rows, inputs.failures) if columns else inputs
