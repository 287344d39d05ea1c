"""Which datatype of the V2 protocol is which dtype, and how is a pipeline described in its terms?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import TensorSpec

DATATYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""Datatypes by dtype; every other column travels as BYTES."""

NAMES: Final[Sequence[str]] = (*DATATYPES.values(), "BYTES")
"""Every datatype."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(dtype).newbyteorder("<") for dtype, name in DATATYPES.items()
}
"""Dtypes by datatype, in the byte order of the protocol; BYTES has none."""

# Looked up by the dtype itself: NumPy makes its `name` anew each time, which takes longer than all the rest.
BY_DTYPE: Final[Mapping[Any, str]] = {np.dtype(dtype): name for dtype, name in DATATYPES.items()}
"""Datatypes by NumPy dtype, in this machine's byte order."""

KINDS: Final[Mapping[str, str]] = {name: dtype.kind for name, dtype in DTYPES.items()} | {"BYTES": "S"}
"""NumPy's letter for what a datatype holds."""

_GROUPS: Final = {"number": "FP64", "float": "FP64", "integer": "INT64"}


def datatype_of(spec: TensorSpec) -> str:
    """The V2 datatype that a column is announced with."""
    return DATATYPES.get(spec.dtype) or _GROUPS.get(spec.dtype, "BYTES")


def metadata_of(name: str, spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    """A column as V2 model metadata. Without a batch axis the tensor is what elsewhere is one row."""
    shape = spec.shape if spec.shape is not None else (-1,)
    if not batched and spec.shape is not None:
        shape = shape[1:] or (1,)
    return {"name": name, "datatype": datatype_of(spec), "shape": list(shape)}


def platform_of(pipeline: Pipeline) -> str:
    """What the protocol calls the platform: project and format of the model."""
    return str(pipeline.model.describe().get("platform", "headrace_pipeline"))
