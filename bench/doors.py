"""In which shape does a row travel? One door for each form of body that a server in the bench understands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PICTURE = (224, 224, 3)
Row = list[float] | str


@dataclass(frozen=True, slots=True)
class Door:
    """How a row becomes a body, and an answer the float32 numbers of one row."""

    name: str
    encode: Callable[[Row], bytes]
    decode: Callable[[bytes], np.ndarray]
    headers: Callable[[bytes], Mapping[str, str]] = lambda body: {"Content-Type": "application/json"}


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
    return {"datatype": "FP32", "shape": _shape(row), "data": row}


def _shape(row: list[float]) -> list[int]:
    """One row of numbers is a vector, or a picture where it is as long as one."""
    return [1, *PICTURE] if len(row) == math.prod(PICTURE) else [1, len(row)]


def _binary(row: Row) -> bytes:
    if isinstance(row, str):
        raise ValueError("the bench sends no text as binary tensors")
    raw = np.asarray(row, "<f4").tobytes()
    given = {"name": "x", "datatype": "FP32", "shape": _shape(row), "parameters": {"binary_data_size": len(raw)}}
    return _compact({"inputs": [given], "parameters": {"binary_data_output": True}}) + raw


def _header_length(body: bytes) -> int:
    """Where the JSON at the beginning of *body* ends."""
    return json.JSONDecoder().raw_decode(body.decode("latin-1"))[1]


def _binary_headers(body: bytes) -> Mapping[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(_header_length(body)),
    }


def _of_binary(body: bytes) -> np.ndarray:
    return np.frombuffer(body[_header_length(body) :], "<f4")


def _of_v2(body: bytes) -> np.ndarray:
    return _floats(json.loads(body)["outputs"][0]["data"])


PLAIN = Door("plain", _plain, _of_plain)
LISTED = Door("listed", _listed, _of_listed)
V2 = Door("v2", _v2, _of_v2)
V2_BINARY = Door("v2-binary", _binary, _of_binary, _binary_headers)
