"""How do the bytes of a tensor become a column, and a column bytes? Row-major, little-endian, without padding."""

from __future__ import annotations

import base64
import binascii
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from headrace.adapters.open_inference.datatypes import DTYPES
from headrace.adapters.open_inference.tensors import Given, folded, wrong_size
from headrace.domain.errors import InvalidInput
from headrace.domain.tensors import Array, Column, TensorSpec

_LITTLE: Final = sys.byteorder == "little"
_LENGTH: Final = struct.Struct("<I")


def column_of(
    raw: bytes | memoryview, tensor: Given, spec: TensorSpec, parameters: Mapping[str, Any] | None = None
) -> Column:
    """The bytes of a tensor as the column that *spec* asks for: an array of its own, or nested lists for BYTES.

    Raises InvalidInput when there are more or fewer bytes than the shape says, or lengths inside lie.
    """
    if tensor.datatype == "BYTES":
        return column_of_elements(elements(raw, tensor), tensor, spec, parameters)
    dtype = DTYPES[tensor.datatype]
    if len(raw) != prod(tensor.shape) * dtype.itemsize:
        raise wrong_bytes(tensor, dtype.itemsize, len(raw))
    return array_of(raw, dtype, tensor.shape or (1,))


def array_of(raw: bytes | memoryview, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Bytes as an array in this machine's byte order, aligned and free to be written to: models do.

    It is a view where *raw* lies so already, else of a copy.
    """
    if dtype.kind == "b":
        true: Array = np.frombuffer(raw, np.uint8) != 0
        return true.reshape(shape)
    copied = isinstance(raw, bytes) or raw.readonly
    view: Array = np.ndarray(shape, dtype, bytearray(raw) if copied else raw)
    if not dtype.isnative:
        return view.astype(dtype.newbyteorder("="))
    return view if copied or view.flags.aligned else view.copy()


def wrong_bytes(tensor: Given, itemsize: int, found: int) -> InvalidInput:
    """What is told when a tensor has more or fewer bytes than its shape says."""
    return wrong_size(tensor, f"{prod(tensor.shape) * itemsize} bytes of {tensor.datatype}; {found} bytes were sent")


def elements(raw: bytes | memoryview, tensor: Given) -> list[bytes]:
    """The elements of BYTES: each has its length, four bytes, before it."""
    view = memoryview(raw)
    found: list[bytes] = []
    position, end = 0, len(view)
    while position < end:
        if position + 4 > end:
            raise _lying(tensor)
        (length,) = _LENGTH.unpack_from(view, position)
        position += 4 + length
        if position > end:
            raise _lying(tensor)
        found.append(bytes(view[position - length : position]))
    return found


def _lying(tensor: Given) -> InvalidInput:
    return InvalidInput(
        f"input {tensor.name!r}: its bytes end in the middle of an element; each of BYTES has its length before it, "
        "as four bytes, lowest first",
        details={"column": tensor.name},
    )


def column_of_elements(
    values: list[bytes], tensor: Given, spec: TensorSpec, parameters: Mapping[str, Any] | None = None
) -> list[Any]:
    """The elements of BYTES as the column wants them: texts, bytes, or what they hold as JSON; nested as the shape."""
    if len(values) != prod(tensor.shape):
        raise wrong_size(tensor, f"{len(values)} were sent")
    if spec.dtype == "bytes":
        coded = (parameters or {}).get("content_type") == "base64"
        read: list[Any] = [_from_base64(value, tensor.name) for value in values] if coded else list(values)
    elif spec.dtype == "string":
        read = _texts(values, tensor.name)
    else:
        read = [_from_json(value, tensor.name) for value in values]
    return folded(read, tensor.shape)


def _texts(values: Iterable[bytes], name: str) -> list[str]:
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise InvalidInput(
            f"input {name!r} is text, and an element of it is not UTF-8", details={"column": name}
        ) from None


def _from_base64(value: bytes, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"input {name!r} is not valid base64", details={"column": name}) from None


def _from_json(value: bytes, name: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        shown = value[:40].decode("utf-8", "replace")
        raise InvalidInput(
            f"input {name!r} holds no tensor: its BYTES are JSON, and {shown!r} is not", details={"column": name}
        ) from None


def raw_of(array: Array) -> Any:
    """The bytes of an array of numbers, without a copy where it lies in memory as it travels."""
    if _LITTLE and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def raw_of_elements(values: Iterable[bytes]) -> bytes:
    """Elements of BYTES, each with its length before it."""
    return b"".join([part for value in values for part in (_LENGTH.pack(len(value)), value)])
