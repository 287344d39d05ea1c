"""A row of outputs as plain data: what a message or a file can carry, whatever arrays it was made of."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """*value* in types that JSON has: arrays as lists, bytes as ``{"base64": ..}``, NaN and infinity as null."""
    if isinstance(value, np.ndarray):
        return _from_array(value)
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def _from_array(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind in "iub" or (array.dtype.kind == "f" and np.isfinite(array).all()):
        return array.tolist()
    return jsonable(array.tolist())
