"""Under which key is the answer to a row kept? One that changes with everything that the answer depends on."""

from __future__ import annotations

import array as packed
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np

from headrace.domain.batch import Batch
from headrace.domain.coerce import MISFITS, coerce
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column, TensorSpec, to_column
from headrace.services.context import Inputs

Keys = list[bytes | None]

_NO_OPTIONS: Final[Mapping[str, Any]] = {}
_CODES: Final = {"float32": "f", "float64": "d"}
_ARRAY: Final = 1


class RowKeys:
    """The keys of the rows of one pipeline: 256-bit digests over its name, version and digest, options and inputs.

    Inputs count as the model gets them, so that it does not matter how a number was written. A row without a key
    (it does not fit, or holds an object that bytes cannot stand for) is answered without the cache.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._specs = {name: pipeline.inputs[name] for name in sorted(pipeline.inputs)}
        identity = (pipeline.ref.name, pipeline.ref.version, pipeline.digest, list(self._specs.items()))
        self._start = hashlib.blake2b(repr(identity).encode(), digest_size=32)
        self._plain = self._begun(_NO_OPTIONS)
        self._only = _only_floats(self._specs)

    def of(self, inputs: Inputs, options: Mapping[str, Any]) -> Keys:
        """A key for each row of *inputs*, or None for a row that has none."""
        begun = self._begun(options) if options else self._plain
        if begun is None:
            return [None] * inputs.rows
        if self._only is not None and inputs.rows == 1:
            name, code, width = self._only
            if (numbers := _packed(inputs.columns[name], code, width)) is not None:
                digest = begun.copy()
                digest.update(numbers)
                return [digest.digest()]
        try:
            taken = {name: to_column(inputs.columns[name], spec) for name, spec in self._specs.items()}
        except MISFITS:
            return self._of_those_that_fit(begun, inputs)
        return self._each(begun, taken, inputs.rows)

    def _of_those_that_fit(self, begun: Any, inputs: Inputs) -> Keys:
        keys: Keys = [None] * inputs.rows
        taken = coerce(Batch(inputs.columns, inputs.rows), self._specs)
        found = self._each(begun, taken.columns, taken.size)
        for row, position in enumerate(taken.positions or range(taken.size)):
            keys[position] = found[row]
        return keys

    def _each(self, begun: Any, columns: Mapping[str, Column], rows: int) -> Keys:
        """The keys of rows that are as the specs say. Each part says where it ends: none runs into the next."""
        keys: Keys = []
        for row in range(rows):
            parts = [_part(columns[name][row], spec) for name, spec in self._specs.items()]
            digest = begun.copy()
            for part in parts:
                if part is None:
                    digest = None
                    break
                digest.update(part)
            keys.append(None if digest is None else digest.digest())
        return keys

    def _begun(self, options: Mapping[str, Any]) -> Any:
        encoded = encoded_or_none(options)
        if encoded is None:
            return None
        begun = self._start.copy()
        begun.update(encoded)
        return begun


def _only_floats(specs: Mapping[str, TensorSpec]) -> tuple[str, str, int] | None:
    """Name, type code and width of the only input, if it is a list of so many floats: the usual case."""
    if len(specs) != 1:
        return None
    ((name, spec),) = specs.items()
    code = _CODES.get(spec.dtype)
    if code is None or spec.shape is None or len(spec.shape) != 2 or spec.shape[1] < 1:
        return None
    return name, code, spec.shape[1]


def _packed(column: Column, code: str, width: int) -> bytes | None:
    """The bytes of a row of plain numbers, the same that its array would have; None for everything else."""
    row = column[0]
    if type(row) is not list or len(row) != width:
        return None
    try:
        return packed.array(code, row).tobytes()
    except (TypeError, OverflowError):
        return None


def _part(value: Any, spec: TensorSpec) -> bytes | None:
    """One value as bytes. The number of elements of an array is stated by the spec, or before them."""
    if spec.numeric:
        shape = value.shape
        data: bytes = value.tobytes()
        return data if spec.shape is not None and -1 not in spec.shape[1:] else _head(shape) + data
    encoded = encoded_or_none(value)
    return None if encoded is None else len(encoded).to_bytes(8, "little") + encoded


@lru_cache(maxsize=1024)
def _head(shape: Sequence[int]) -> bytes:
    return repr(shape).encode()


def encoded_or_none(value: Any) -> bytes | None:
    """*value* as bytes, the same for equal values; None if it holds an object that bytes cannot stand for."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _to_msgpack(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return value.tolist()
    if isinstance(value, np.ndarray):
        return msgspec.msgpack.Ext(_ARRAY, repr((value.dtype.str, value.shape)).encode() + value.tobytes())
    raise TypeError(f"a {type(value).__name__} has no bytes of its own")


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_msgpack, order="deterministic")
