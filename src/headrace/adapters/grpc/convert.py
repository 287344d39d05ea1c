"""How do requests become columns, and results encoded answers?"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from headrace.adapters.grpc import contents
from headrace.adapters.grpc.generated.open_inference_pb2 import InferTensorContents, ModelInferResponse
from headrace.adapters.grpc.requests import AskedOutput, AskedTensor, Question, Request, Values
from headrace.adapters.grpc.wire import ANSWER_ID, ANSWER_VALUES, field, opening
from headrace.adapters.http.rendering import to_json
from headrace.adapters.open_inference import raw, tensors
from headrace.adapters.open_inference.classification import classified
from headrace.adapters.open_inference.datatypes import DTYPES
from headrace.adapters.open_inference.outputs import Tensor, chosen_outputs, to_tensor
from headrace.domain.errors import InvalidRequest
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs, Result


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor's values go. *dtype* and *size* (bytes) are of raw numbers; BYTES have neither.

    *plain* numbers lie in a message as they lie in memory.
    """

    tensor: AskedTensor
    spec: TensorSpec
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    size: int
    plain: bool

    def column(self, values: Values) -> Column:
        """The values as a column. Raises InvalidInput if they are not what the tensor says of them."""
        if self.plain and type(values) is memoryview and len(values) == self.size:
            return np.ndarray(self.shape, self.dtype, bytearray(values))  # a copy: models write into their inputs
        if isinstance(values, InferTensorContents):
            return contents.column_of(values, self.tensor, self.spec)
        if self.dtype is None:
            return raw.column_of(values, self.tensor, self.spec, self.tensor.parameters)
        if len(values) != self.size:
            raise raw.wrong_bytes(self.tensor, self.dtype.itemsize, len(values))
        return raw.array_of(values, self.dtype, self.shape)


class Layout:
    """A question held against a pipeline: all that can be checked without the values, checked once.

    *listed* is whether some column will be a list of single values.
    """

    __slots__ = ("_pipeline", "batched", "listed", "outputs", "rows", "slots")

    def __init__(self, question: Question, pipeline: Pipeline) -> None:
        """Raises InvalidInput or InvalidRequest for what does not fit."""
        self._pipeline = weakref.ref(pipeline)  # what is remembered must not keep a model in memory
        self.slots: list[Slot] = []
        self.outputs = _outputs(question.outputs, pipeline)
        self.batched = pipeline.batched
        self.rows = tensors.to_inputs(question.tensors, pipeline, self._note).rows
        self.listed = any(slot.dtype is None for slot in self.slots)

    def _note(self, tensor: AskedTensor, spec: TensorSpec) -> Column:
        dtype = DTYPES.get(tensor.datatype)
        size = prod(tensor.shape) * dtype.itemsize if dtype else 0
        plain = dtype is not None and dtype.isnative and dtype.kind != "b"
        self.slots.append(Slot(tensor, spec, tensor.shape or (1,), dtype, size, plain))
        return []

    def of(self, pipeline: Pipeline) -> bool:
        """Whether this is the layout for *pipeline*."""
        return self._pipeline() is pipeline

    def inputs(self, values: Sequence[Values]) -> Inputs:
        """The columns of a request. Raises InvalidInput for values that are not what the question says."""
        columns: dict[str, Column] = {}
        for slot, given in zip(self.slots, values, strict=True):
            column = slot.column(given)
            columns[slot.tensor.name] = column if self.batched else [tensors.whole(column, slot.spec)]
        return Inputs(columns, self.rows)


def layout_of(question: Question, pipeline: Pipeline) -> Layout:
    """The layout of *question* for *pipeline*, made anew only when either is new. Raises what Layout does."""
    known: Layout | None = question.layout
    if known is None or not known.of(pipeline):
        known = question.layout = Layout(question, pipeline)
    return known


def _outputs(asked: Sequence[AskedOutput], pipeline: Pipeline) -> Sequence[AskedOutput]:
    if not asked:
        return [AskedOutput(name) for name in pipeline.outputs]
    names = chosen_outputs([output.name for output in asked], pipeline)
    if len(names) != len(asked):
        raise InvalidRequest("an output is asked for twice")
    return asked


def answer(result: Result, pipeline: Pipeline, outputs: Sequence[AskedOutput], request: Request) -> bytes:
    """The encoded ModelInferResponse: raw if the request was, or if a datatype has no other form.

    Raises the first row's error if one failed: the protocol knows no answer in which some rows are missing.
    """
    found = [_tensor(output, result, pipeline) for output in outputs]
    as_bytes = request.raw or any(tensor.datatype not in contents.FIELDS for tensor in found)
    encoded = (_raw_answer if as_bytes else _typed_answer)(result.ref, request.id, found)
    return encoded if pipeline.spec.cache is None else encoded + _cached(result.cached)


@lru_cache(maxsize=2)
def _cached(found: bool) -> bytes:
    """The encoded parameter that tells whether an answer was kept; fields of a message may follow one another."""
    message = ModelInferResponse()
    message.parameters["cached"].bool_param = found
    return message.SerializeToString()


def _tensor(output: AskedOutput, result: Result, pipeline: Pipeline) -> Tensor:
    column = result.column(output.name)
    if output.classes:
        return classified(output.name, column, output.classes, pipeline)
    return to_tensor(output.name, column, to_json, batched=pipeline.batched)


def _raw_answer(ref: PipelineRef, request_id: bytes, found: Sequence[Tensor]) -> bytes:
    parts: list[Any] = [_front(ref.name, ref.version, tuple(map(_description, found)))]
    if request_id:
        parts.append(field(ANSWER_ID, request_id))
    for tensor in found:
        values = tensor.values
        if isinstance(values, list):
            parts.append(field(ANSWER_VALUES, raw.raw_of_elements(values)))
        else:
            parts.append(opening(ANSWER_VALUES, values.nbytes))
            parts.append(raw.raw_of(values))
    return b"".join(parts)


Description = tuple[str, str, Sequence[int], tuple[tuple[str, str], ...]]


def _description(tensor: Tensor) -> Description:
    """What an answer says of an output beside its values: name, datatype, shape and parameters."""
    return tensor.name, tensor.datatype, tensor.shape, tuple(tensor.parameters.items()) if tensor.parameters else ()


@lru_cache(maxsize=4096)
def _front(name: str, version: str, outputs: tuple[Description, ...]) -> bytes:
    """The encoded part of an answer that is the same whenever shapes are."""
    message = ModelInferResponse(model_name=name, model_version=version)
    for output, datatype, shape, parameters in outputs:
        tensor = message.outputs.add(name=output, datatype=datatype, shape=shape)
        for key, value in parameters:
            tensor.parameters[key].string_param = value
    return message.SerializeToString()


def _typed_answer(ref: PipelineRef, request_id: bytes, found: Sequence[Tensor]) -> bytes:
    message = ModelInferResponse(model_name=ref.name, model_version=ref.version, id=request_id.decode())
    for tensor in found:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for key, value in (tensor.parameters or {}).items():
            output.parameters[key].string_param = value
        contents.fill(output.contents, tensor)
    return message.SerializeToString()
