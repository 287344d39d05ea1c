"""What does a V2 inference request ask for? Its JSON, the raw tensors behind it, and in which form to answer."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from headrace.adapters.http.body import decode
from headrace.adapters.open_inference.datatypes import DTYPES, datatype_of
from headrace.adapters.open_inference.outputs import chosen_outputs
from headrace.adapters.open_inference.parameters import classes_wanted, refuse_shared_memory, whole_number
from headrace.domain.errors import InvalidInput, InvalidRequest
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import TensorSpec

Parameters = dict[str, str | int | float | bool]


class RequestInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One entry of ``inputs``; without *data* its values stand behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: Parameters | None = None


class RequestOutput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One entry of ``outputs``."""

    name: str
    parameters: Parameters | None = None


class Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The JSON of an inference request. *model_name* stands in some clients' bodies beside the one in the path."""

    inputs: list[RequestInput]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[RequestOutput] | None = None
    model_name: str | None = None
    model_version: str | None = None


class LongInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An input whose data stay JSON until it is known what they are to become."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = None  # type: ignore[assignment]  # a union with None is not to be had for it
    parameters: Parameters | None = None


class LongRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A request of many bytes, which are numbers mostly."""

    inputs: list[LongInput]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[RequestOutput] | None = None
    model_name: str | None = None
    model_version: str | None = None


LONG: Final = 1024
"""Bytes of a body from which on it is worth to keep data as JSON at first."""
_REQUEST: Final = msgspec.json.Decoder(Request)
_LONG_REQUEST: Final = msgspec.json.Decoder(LongRequest)
_FIELDS: Final = tuple(dict.fromkeys((*Request.__struct_fields__, *RequestInput.__struct_fields__)))
_LENGTH: Final = struct.Struct("<I")
_NONE: Final[Mapping[str, Any]] = {}


@dataclass(slots=True)  # not frozen: made for every request, and that would take twice as long
class Question:
    """A request: its JSON, the bytes of those inputs that are *raw*, by name, and whether it is the raw form."""

    request: Request | LongRequest
    raws: Mapping[str, memoryview] = field(default_factory=dict)
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output of an answer: as *binary* or as JSON, and how many *classes* in its place (0: the output itself)."""

    name: str
    binary: bool = False
    classes: int = 0


def read_json(body: bytes) -> Question:
    """The request in *body*, all of which is JSON. Raises InvalidRequest."""
    request = _read(body)
    for tensor in request.inputs:
        if tensor.data is None or tensor.parameters:
            _require_values(tensor, "the header Inference-Header-Content-Length must tell where the JSON ends")
    return Question(request)


def _read(body: bytes) -> Request | LongRequest:
    if len(body) >= LONG:
        request = decode(body, _LONG_REQUEST, _FIELDS)
        if all(tensor.data is not None and bytes(tensor.data).startswith(b"[") for tensor in request.inputs):
            return request
    return decode(body, _REQUEST, _FIELDS)


def read_binary(body: bytes | memoryview, head: int) -> Question:
    """The request in *body*, whose first *head* bytes are JSON, followed by tensors in the order of the inputs.

    Raises InvalidRequest for lengths that do not add up, before anything is made of the bytes.
    """
    whole = memoryview(body)
    if head > len(whole):
        raise InvalidRequest(f"Inference-Header-Content-Length is {head}, and the body has {len(whole)} bytes")
    request = decode(bytes(whole[:head]), _REQUEST, _FIELDS)
    tail = whole[head:]
    raws: dict[str, memoryview] = {}
    position = 0
    for tensor in request.inputs:
        size = _require_values(tensor)
        if size is None:
            continue
        if size > len(tail) - position:
            raise InvalidRequest(
                f"input {tensor.name!r}: binary_data_size is {size}, and {len(tail) - position} bytes are left for it"
            )
        raws[tensor.name] = tail[position : position + size]
        position += size
    if position != len(tail):
        raise InvalidRequest(f"{len(tail)} bytes follow the JSON, and binary_data_size adds up to {position}")
    return Question(request, raws)


def _require_values(tensor: RequestInput | LongInput, missing: str = "") -> int | None:
    """How many bytes of a tensor stand behind the JSON; None for one whose values are in it. Raises InvalidRequest."""
    parameters = tensor.parameters or _NONE
    refuse_shared_memory(parameters, tensor.name)
    size = parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise InvalidRequest(f"input {tensor.name!r} has no values: it lacks `data`, or a binary_data_size")
        return None
    if missing:
        raise InvalidRequest(f"input {tensor.name!r} has a binary_data_size; {missing}")
    if tensor.data is not None:
        raise InvalidRequest(f"input {tensor.name!r} has `data` and a binary_data_size; one of the two is wanted")
    return whole_number(size, "binary_data_size")


def read_bare(body: bytes | memoryview, pipeline: Pipeline) -> Question:
    """The raw form of a request: *body* is the only input's only row, an element of BYTES without its length.

    Raises InvalidRequest for a pipeline that such a request cannot fill, InvalidInput for a body of another size.
    """
    name, spec = _only_input(pipeline)
    datatype = datatype_of(spec)
    if datatype == "BYTES":
        shape = _free_axis(name, _row_axes(name, spec, batched=pipeline.batched), 1) if spec.row_shape else [1]
        raw = memoryview(_LENGTH.pack(len(body)) + body)
    else:
        count, rest = divmod(len(body), DTYPES[datatype].itemsize)
        if rest:
            raise InvalidInput(f"input {name!r} is {datatype}, and {len(body)} bytes are no whole number of them")
        shape, raw = _free_axis(name, _row_axes(name, spec, batched=pipeline.batched), count), memoryview(body)
    tensor = RequestInput(name, shape, datatype)
    return Question(Request([tensor]), {name: raw}, bare=True)


def _only_input(pipeline: Pipeline) -> tuple[str, TensorSpec]:
    inputs = pipeline.inputs
    found = [name for name, spec in inputs.items() if not spec.optional] or list(inputs)
    if len(found) != 1:
        raise InvalidRequest(
            f"a raw request (Inference-Header-Content-Length: 0) fills one input, and {pipeline.ref} takes "
            f"{', '.join(found) or 'none'}"
        )
    return found[0], inputs[found[0]]


def _row_axes(name: str, spec: TensorSpec, *, batched: bool) -> list[int]:
    if spec.row_shape is None:
        raise InvalidRequest(f"a raw request cannot fill {name!r}, whose shape is not known beforehand")
    return [1, *spec.row_shape] if batched else list(spec.row_shape) or [1]


def _free_axis(name: str, axes: list[int], count: int) -> list[int]:
    """*axes* with the free one as large as *count* elements make it. That they fit is seen when they are read."""
    free = [place for place, size in enumerate(axes) if size < 0]
    if len(free) > 1:
        raise InvalidRequest(f"a raw request cannot fill {name!r}, which has more than one free axis: {axes}")
    fixed = 1
    for size in axes:
        fixed *= size if size >= 0 else 1
    return [count // fixed if fixed and size < 0 else max(size, 0) for size in axes]


def wanted_outputs(question: Question, pipeline: Pipeline) -> Sequence[Wanted]:
    """The outputs to answer with, in the order asked, or all. Raises InvalidRequest for one that is not there."""
    request = question.request
    binary = question.bare
    if request.parameters:
        binary = binary or _flag(request.parameters, "binary_data_output", default=False)
    if not request.outputs:
        return _all(pipeline.output_names, binary)
    chosen_outputs([output.name for output in request.outputs], pipeline)
    wanted = {output.name: _wanted(output, binary=binary) for output in request.outputs}
    if len(wanted) < len(request.outputs):
        raise InvalidRequest("an output is asked for twice")
    return list(wanted.values())


@lru_cache(maxsize=1024)
def _all(names: tuple[str, ...], binary: bool, /) -> Sequence[Wanted]:
    return tuple(Wanted(name, binary) for name in names)


def _wanted(output: RequestOutput, *, binary: bool) -> Wanted:
    if not output.parameters:
        return Wanted(output.name, binary)
    refuse_shared_memory(output.parameters, output.name)
    binary = _flag(output.parameters, "binary_data", default=binary)
    return Wanted(output.name, binary, classes_wanted(output.parameters, output.name))


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"parameter {name!r} wants true or false, not {value!r:.40}")
    return value


def require_model(request: Request | LongRequest, name: str, version: str | None) -> None:
    """Raises InvalidRequest if the body names another model than the path does."""
    if request.model_name not in (None, name):
        raise InvalidRequest(f"the path names the model {name!r}, and the body {request.model_name!r}")
    if version is not None and request.model_version not in (None, "", version):
        raise InvalidRequest(f"the path names the version {version!r}, and the body {request.model_version!r}")
