"""How do many numbers in JSON become an array, without a Python object for each of them?

Lists of objects cost more than all the rest of a long request: they are made, walked through and freed once, and the
processor's cache is full of them meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np
import simdjson

from headrace.domain.tensors import Array, TensorSpec

_DTYPES: Final = {name: np.dtype(name) for name in ("float32", "float64")}
_NUMBERS: Final = b"0123456789+-.eE \t\r\n"
_SHORT: Final = 65_536
"""Bytes of a text up to which one parser serves all; it keeps memory for the longest that it has read."""
_PARSER: Final = simdjson.Parser()
_REFUSED: Final = (RuntimeError, TypeError, ValueError)
"""What the parser raises for anything but numbers that fit a double, and while another thread has it."""


def numbers(text: bytes, spec: TensorSpec, shape: Sequence[int]) -> Array | None:
    """The JSON array *text* as floats of *shape*, given so or as one flat list; None for whatever is not as usual.

    What is no number, too large, or of another shape is left to the slower way, which knows what to say about it.
    """
    dtype = _DTYPES.get(spec.dtype)
    if dtype is None or not _stands(text, shape):
        return None
    try:
        found = (_PARSER if len(text) <= _SHORT else simdjson.Parser()).parse(text)
        read = np.frombuffer(found.as_buffer(of_type="d"), np.float64) if isinstance(found, simdjson.Array) else None
        del found  # the parser refuses the next text as long as there is anything of this one
    except _REFUSED:
        return None
    if read is None or read.size != prod(shape):
        return None
    with np.errstate(over="ignore"):  # beyond float32 lies infinity, as everywhere in NumPy
        return read.astype(dtype).reshape(shape)


def _stands(text: bytes, shape: Sequence[int]) -> bool:
    """Whether lists are nested as *shape* says, or not at all."""
    second = text.find(b"[", 1)
    if second < 0:
        return True
    if second == 1 and len(shape) == 2 and shape[0] == 1 and text.find(b"[", 2) < 0 and text[-2:] == b"]]":
        return True
    # The shape is what somebody says: without as many commas in the text, its outline might fill the memory.
    return text.count(b",") == prod(shape) - 1 and text.translate(None, _NUMBERS) == _outline(shape)


def _outline(shape: Sequence[int]) -> bytes:
    """What is left of nested lists of this shape without the numbers; as many commas as there are values, less one."""
    outline = b""
    for size in reversed(shape):
        outline = b"[" + b",".join([outline] * size) + b"]"
    return outline
