"""How do the columns of a result become JSON?"""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson

from headrace.adapters.http.errors import shown
from headrace.domain.errors import EngineError, ModelFailure
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column
from headrace.services.context import Result, Timing

OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


def to_json(content: Any) -> bytes:
    """*content*, in which arrays may stand, as JSON. Raises ModelFailure for what has no JSON form.

    Arrays of numbers are written without a detour. NaN and infinities, which JSON lacks, become null.
    """
    try:
        return orjson.dumps(content, default=plain, option=OPTIONS)
    except TypeError:
        pass  # keys that are no texts, or bytes the wrong way round: rare, and looking for them slows all others down
    try:
        return orjson.dumps(_listed(content), default=plain, option=OPTIONS | orjson.OPT_NON_STR_KEYS)
    except (TypeError, RecursionError) as error:
        raise ModelFailure(f"the answer cannot be written as JSON: {error}") from error


def _listed(value: Any) -> Any:
    """*value* with lists in the place of arrays."""
    if isinstance(value, np.ndarray):
        return _listed(value.tolist())
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """What orjson does not know by itself: bytes as ``{"base64": ..}``, arrays of objects, mappings, sets."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def ready_made(content: Any) -> Any:
    """*content* written as JSON now, to stand as it is in an answer that is written later."""
    return orjson.Fragment(to_json(content))


def no_rows(pipeline: Pipeline) -> Result:
    """The answer to a request without rows: every output column, empty; a free axis has size 0."""
    columns: dict[str, Column] = {}
    for name, spec in pipeline.outputs.items():
        shape = [0, *(max(0, size) for size in spec.row_shape or ())]
        columns[name] = np.empty(shape, dtype=spec.dtype if spec.numeric else object)
    return Result(pipeline.ref, columns, range(0), Timing())


def one_row(result: Result) -> Mapping[str, Any]:
    """The outputs of a request of one row: slices of the columns that it shares. Raises the row's error."""
    pick = result.picks[0]
    if isinstance(pick, EngineError):
        raise pick
    return {name: column[pick] for name, column in result.columns.items()}


def many_rows(result: Result) -> list[Mapping[str, Any]]:
    """An object for each row; ``{"error": {..}}`` stands in the place of one that failed."""
    columns = result.columns.items()
    return [
        {"error": shown(pick)} if isinstance(pick, EngineError) else {name: column[pick] for name, column in columns}
        for pick in result.picks
    ]


def all_failed(result: Result) -> EngineError | None:
    """If every row failed: an error like the first row's that lists them all under ``details.rows``."""
    picks = result.picks
    if isinstance(picks, range) or not picks:
        return None
    errors = [pick for pick in picks if isinstance(pick, EngineError)]
    return combined(errors) if len(errors) == len(picks) else None


def combined(errors: list[EngineError]) -> EngineError:
    """One error that stands for several; of a single one, itself."""
    first = errors[0]
    if len(errors) == 1:
        return first
    rows = [{"row": number, **shown(error)} for number, error in enumerate(errors)]
    details = {**(first.details or {}), "rows": rows}
    return with_details(first, f"all {len(errors)} rows failed; the first one: {first.message}", details)


def with_details(error: EngineError, message: str, details: Mapping[str, Any]) -> EngineError:
    """An error of the same kind as *error* that says more."""
    fuller = copy.copy(error)
    fuller.args = (message,)
    fuller.message = message
    fuller.details = details
    return fuller
