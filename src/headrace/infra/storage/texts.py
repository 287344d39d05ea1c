"""How do the values of a column become text: one JSON value or one CSV cell for each row?"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from headrace.domain.ports import Values
from headrace.domain.tensors import Array

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def json_text(value: Any) -> str:
    """*value* as JSON on one line: arrays as lists, bytes as ``{"base64": ..}``, NaN and infinity as null."""
    try:
        return orjson.dumps(value, default=_plain, option=OPTIONS).decode()
    except TypeError:  # integers beyond 64 bits, keys of unusual types
        return json.dumps(_finite(value), default=_plain, separators=(",", ":"))


def json_texts(column: Values) -> list[str]:
    """The JSON of each row of *column*: a list, a NumPy array, or an Arrow array."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return _array_texts(column)
    return [json_text(value) for value in plain_list(column)]


def csv_texts(column: Values) -> list[str]:
    """The CSV cell of each row: numbers and text as they are, null empty, bytes as base64, the rest as JSON."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        texts = _array_texts(column)
        if column.ndim == 1 and column.dtype.kind == "f":
            for row in np.flatnonzero(~np.isfinite(column)):
                texts[row] = _odd_float(float(column[row]))
        return texts
    return [_cell(value) for value in plain_list(column)]


def plain_list(column: Values) -> list[Any]:
    """The rows of *column* as a list of Python values; rows of an array with several axes stay arrays."""
    if isinstance(column, list):
        return column
    if isinstance(column, np.ndarray):
        return column.tolist() if column.ndim == 1 and column.dtype.kind != "M" else list(column)
    if hasattr(column, "to_pylist"):  # an Arrow array, which only a reader with Arrow at hand makes
        values: list[Any] = column.to_pylist()
        return values
    return list(column)


def _array_texts(column: Array) -> list[str]:
    """The shortest text that reads back as the same number of its type, made of the whole array at once."""
    if column.size == 0:
        return [json_text(row) for row in column.tolist()]
    native = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("="))
    text = orjson.dumps(native, option=OPTIONS).decode()
    depth = column.ndim - 1
    inner = text[1 + depth : len(text) - 1 - depth]
    opening, closing = "[" * depth, "]" * depth
    return [f"{opening}{part}{closing}" for part in inner.split(f"{closing},{opening}")]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return _odd_float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    text = json_text(value)
    return str(json.loads(text)) if text.startswith('"') else text


def _odd_float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return str(value)


def _finite(value: Any) -> Any:
    """*value* for the slower writer of JSON, which would write NaN as no JSON reader takes it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
