"""How do typed contents, the form with a list per kind of number, become a column, and a tensor typed contents?"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np

from headrace.adapters.grpc.generated.open_inference_pb2 import InferTensorContents
from headrace.adapters.grpc.requests import AskedTensor
from headrace.adapters.open_inference.datatypes import DTYPES
from headrace.adapters.open_inference.outputs import Tensor
from headrace.adapters.open_inference.raw import column_of_elements
from headrace.adapters.open_inference.tensors import wrong_size
from headrace.domain.errors import InvalidInput
from headrace.domain.tensors import Array, Column, TensorSpec

FIELDS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}  # fmt: skip
"""Where the values of a datatype stand; FP16 has no place."""


def column_of(contents: InferTensorContents, tensor: AskedTensor, spec: TensorSpec) -> Column:
    """Typed contents as the column that *spec* asks for.

    Raises InvalidInput for contents of another kind, for more or fewer than the shape says, and beyond the range.
    """
    field = FIELDS.get(tensor.datatype)
    if field is None:
        raise InvalidInput(f"input {tensor.name!r}: {tensor.datatype} travels only in raw_input_contents")
    for given, _ in contents.ListFields():
        if given.name != field:
            raise InvalidInput(
                f"input {tensor.name!r}: contents of {tensor.datatype} stand in {field}, not {given.name}"
            )
    values = getattr(contents, field)
    if tensor.datatype == "BYTES":
        return column_of_elements(list(values), tensor, spec, tensor.parameters)
    if len(values) != prod(tensor.shape):
        raise wrong_size(tensor, f"{len(values)} were sent")
    return _array(values, tensor).reshape(tensor.shape or (1,))


def _array(values: Any, tensor: AskedTensor) -> Array:
    dtype = DTYPES[tensor.datatype].newbyteorder("=")
    if dtype.itemsize >= 4 or dtype.kind == "b":
        return np.fromiter(values, dtype, len(values))
    wide = np.fromiter(values, np.int64, len(values))
    limits = np.iinfo(dtype)
    if beyond := [int(value) for value in wide[(wide < limits.min) | (wide > limits.max)][:1]]:
        raise InvalidInput(f"input {tensor.name!r} is {tensor.datatype}, and {beyond[0]} is beyond its range")
    return wide.astype(dtype)


def fill(contents: InferTensorContents, tensor: Tensor) -> None:
    """Write the values of *tensor* into *contents*; its datatype must be among FIELDS."""
    values = tensor.values
    getattr(contents, FIELDS[tensor.datatype]).extend(values if isinstance(values, list) else values.ravel().tolist())
