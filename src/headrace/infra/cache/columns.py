"""How does an answer become bytes that another process can read, or a value that nobody in this one can change?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from headrace.domain.tensors import Column

_ARRAY: Final = 1
_UNCHANGING: Final = (str, bytes, bool, int, float, type(None), np.generic)
_ARRAY_BYTES: Final = 128
"""What an array costs beside its elements."""


def encode(columns: Mapping[str, Column]) -> bytes | None:
    """*columns* as bytes; None if they hold something that cannot be kept (a picture, say)."""
    try:
        return _encoder.encode(columns)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def decode(stored: bytes) -> dict[str, Column]:
    """The columns that `encode` was given, arrays with their dtype and shape. Raises ValueError for other bytes."""
    try:
        columns: dict[str, Column] = _decoder.decode(stored)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("these are no columns of this version") from error
    return columns


def frozen(columns: Mapping[str, Column]) -> tuple[Mapping[str, Column] | bytes, int] | None:
    """*columns* as something that no reader can change, and about how many bytes that is; None as `encode`.

    Where all values are arrays, numbers and texts that is columns of their own, else (lists and mappings inside) the
    encoded bytes, of which each reader gets its own copy.
    """
    kept: dict[str, Column] = {}
    size = 0
    for name, column in columns.items():
        own: Column | None
        if isinstance(column, np.ndarray):
            own = _own(column)
        else:
            values = [_own(value) if isinstance(value, np.ndarray) else value for value in column]
            own = values if all(isinstance(value, (*_UNCHANGING, np.ndarray)) for value in values) else None
        if own is None:
            encoded = encode(columns)
            return None if encoded is None else (encoded, len(encoded))
        kept[name] = own
        size += _size(own)
    return kept, size


def _own(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """A copy that is not a part of a whole batch, and read-only; None for an array of objects."""
    if array.dtype.hasobject:
        return None
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def _size(column: Column) -> int:
    if isinstance(column, np.ndarray):
        return int(column.nbytes) + _ARRAY_BYTES
    return _ARRAY_BYTES + sum(_size(value) if isinstance(value, np.ndarray) else value.__sizeof__() for value in column)


def _to_msgpack(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        inner = _encoder.encode((value.dtype.str, value.shape, value.tobytes()))
        return msgspec.msgpack.Ext(_ARRAY, inner)
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _from_msgpack(code: int, data: memoryview) -> Any:
    dtype, shape, raw = msgspec.msgpack.decode(data)
    array = np.frombuffer(raw, dtype=dtype).reshape(shape)
    return array if array.ndim else array[()]


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_msgpack)
_decoder = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_from_msgpack)
