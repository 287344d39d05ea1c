"""What does an ONNX file say about itself that ONNX Runtime does not pass on? Reads the outline, never the weights.

The file is a protobuf message (onnx.proto of the ONNX project); the numbers below are its field numbers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Value = int | memoryview

MODEL_IR_VERSION: Final = 1
MODEL_PRODUCER: Final = 2
MODEL_PRODUCER_VERSION: Final = 3
MODEL_GRAPH: Final = 7
MODEL_OPSET: Final = 8
OPSET_DOMAIN: Final = 1
OPSET_VERSION: Final = 2
GRAPH_INITIALIZER: Final = 5
GRAPH_INPUT: Final = 11
GRAPH_OUTPUT: Final = 12
VALUE_NAME: Final = 1
VALUE_TYPE: Final = 2
TYPE_TENSOR: Final = 1
TENSOR_TYPE_SHAPE: Final = 2
TENSOR_EXTERNAL: Final = 13
ENTRY_KEY: Final = 1
ENTRY_VALUE: Final = 2


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """The outline: *opsets* by domain ("ai.onnx" is the default one), *external* data files, *scalars* by name."""

    ir_version: int = 0
    producer: str = ""
    opsets: tuple[tuple[str, int], ...] = ()
    external: tuple[str, ...] = ()
    scalars: frozenset[str] = frozenset()
    """Inputs and outputs that the file declares with a shape of no axes; ONNX Runtime shows an unknown shape alike."""


def read_outline(path: Path) -> OnnxFile | None:
    """The outline of the file at *path*; None when it is no ONNX protobuf (ONNX Runtime says why, and better)."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            whole = memoryview(data)
            try:
                return _outline(whole)
            finally:
                whole.release()
    except (ValueError, IndexError, OSError, BufferError):
        return None


def _outline(data: memoryview) -> OnnxFile:
    ir_version = 0
    producer = ["", ""]
    opsets: list[tuple[str, int]] = []
    external: dict[str, None] = {}
    scalars: set[str] = set()
    for number, value in _fields(data):
        if number == MODEL_IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number in (MODEL_PRODUCER, MODEL_PRODUCER_VERSION):
            producer[number - MODEL_PRODUCER] = _text(value)
        elif number == MODEL_OPSET:
            opsets.append(_opset(value))
        elif number == MODEL_GRAPH:
            for part, content in _fields(value):
                if part in (GRAPH_INPUT, GRAPH_OUTPUT) and (name := _scalar_name(content)):
                    scalars.add(name)
                elif part == GRAPH_INITIALIZER and (location := _external(content)):
                    external[location] = None
    shown = " ".join(filter(None, producer))
    return OnnxFile(ir_version, shown, tuple(opsets), tuple(external), frozenset(scalars))


def _opset(data: Value) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in _fields(data):
        if number == OPSET_DOMAIN:
            domain = _text(value)
        elif number == OPSET_VERSION and isinstance(value, int):
            version = value
    return domain or "ai.onnx", version


def _scalar_name(data: Value) -> str | None:
    """The name of an input or output, if its shape is there and has no axes."""
    name, scalar = "", False
    for number, value in _fields(data):
        if number == VALUE_NAME:
            name = _text(value)
        elif number == VALUE_TYPE:
            tensors = [tensor for kind, tensor in _fields(value) if kind == TYPE_TENSOR]
            shapes = [shape for tensor in tensors for part, shape in _fields(tensor) if part == TENSOR_TYPE_SHAPE]
            scalar = bool(shapes) and all(not isinstance(shape, int) and len(shape) == 0 for shape in shapes)
    return name if scalar else None


def _external(data: Value) -> str | None:
    """Where an initializer's values lie, if not in the file itself."""
    for number, value in _fields(data):
        if number == TENSOR_EXTERNAL:
            entry = {key: _text(text) for key, text in _fields(value) if not isinstance(text, int)}
            if entry.get(ENTRY_KEY) == "location":
                return entry.get(ENTRY_VALUE)
    return None


def _fields(data: Value) -> Iterator[tuple[int, Value]]:
    """The fields of a protobuf message: numbers as they are, everything with a length as a view of the bytes."""
    if isinstance(data, int):
        raise ValueError("a number where a message should be")
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("the file ends too early")
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"no wire type {kind}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _text(value: Value) -> str:
    return "" if isinstance(value, int) else bytes(value).decode("utf-8", "replace")
