"""In which shape does a row travel? One door for each form of body that a server in the bench understands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = list[float] | str


@dataclass(frozen=True, slots=True)
class Door:
    """How a row becomes a body, and an answer the float32 numbers of one row."""

    name: str
    encode: Callable[[Row], bytes]
    decode: Callable[[bytes], np.ndarray]
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _column(row: Row) -> str:
    return "text" if isinstance(row, str) else "x"


def _floats(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float32).ravel()


def _plain(row: Row) -> bytes:
    return _compact({_column(row): row})


def _of_plain(body: bytes) -> np.ndarray:
    return _floats(json.loads(body)["y"])


def _listed(row: Row) -> bytes:
    return _compact({_column(row): [row]})


def _of_listed(body: bytes) -> np.ndarray:
    return _floats(json.loads(body))


def _v2(row: Row) -> bytes:
    kind = {"datatype": "BYTES", "shape": [1], "data": [row]} if isinstance(row, str) else _numbers(row)
    return _compact({"inputs": [{"name": _column(row), **kind}]})


def _numbers(row: list[float]) -> dict[str, Any]:
    return {"datatype": "FP32", "shape": [1, len(row)], "data": row}


def _of_v2(body: bytes) -> np.ndarray:
    return _floats(json.loads(body)["outputs"][0]["data"])


PLAIN = Door("plain", _plain, _of_plain)
LISTED = Door("listed", _listed, _of_listed)
V2 = Door("v2", _v2, _of_v2)
