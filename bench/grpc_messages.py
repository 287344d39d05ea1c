"""How does a row look as a V2 gRPC message? The few fields that the bench needs, written and read by hand.

Layout: the protocol's `ModelInferRequest` (1 model_name, 5 inputs, 7 raw_input_contents) and `ModelInferResponse`
(5 outputs, 6 raw_output_contents); a tensor has 1 name, 2 datatype, 3 shape, 5 contents, whose field 6 holds floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def request(model: str, column: str, row: Sequence[float]) -> bytes:
    """A request with one row of float32 numbers as raw contents."""
    shape = _field(3, _varint(1) + _varint(len(row)))
    tensor = _field(1, column.encode()) + _field(2, b"FP32") + shape
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, np.asarray(row, "<f4").tobytes())


def answer(message: bytes) -> np.ndarray:
    """The numbers of the first output, float32 and flat, raw or typed. Raises ValueError when there are none."""
    found = dict(reversed(list(_fields(message))))  # the first of equal fields wins
    if 6 in found:
        return np.frombuffer(found[6], "<f4")
    contents = dict(_fields(dict(_fields(found.get(5, b""))).get(5, b"")))
    if 6 not in contents:
        raise ValueError("the answer holds no float32 output")
    return np.frombuffer(contents[6], "<f4")


def framed(message: bytes) -> bytes:
    """*message* as it goes over the wire: not compressed, its length before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of *message*; numbers are passed over."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == 0:
            _, at = _read_varint(message, at)
        elif key & 7 == 2:
            size, at = _read_varint(message, at)
            yield key >> 3, message[at : at + size]
            at += size
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise ValueError(f"wire type {key & 7} is not of this protocol")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("the message ends within a number")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
