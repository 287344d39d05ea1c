"""What does an encoded inference request ask for?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from headrace.adapters.grpc.generated.open_inference_pb2 import InferTensorContents, ModelInferRequest
from headrace.adapters.grpc.wire import split
from headrace.adapters.open_inference.parameters import classes_wanted, refuse_shared_memory
from headrace.domain.errors import InvalidInput, InvalidRequest
from headrace.domain.routing import Asked

KNOWN: Final = 1024
"""Heads that are remembered at the same time."""
LONGEST_HEAD: Final = 4096
"""Bytes of a head that is worth remembering."""

Values = memoryview | bytes | InferTensorContents


@dataclass(frozen=True, slots=True)
class AskedTensor:
    """One entry of ``inputs``, less its values."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AskedOutput:
    """One entry of ``outputs``. With *classes* that many are wanted in the place of the scores."""

    name: str
    classes: int = 0


class Question:
    """All that a request says beside its id and its values. *layout* is what was made of it, for whoever made it."""

    __slots__ = ("asked", "layout", "outputs", "parameters", "tensors")

    def __init__(self, message: ModelInferRequest) -> None:
        """Raises InvalidRequest for what is not of the protocol, or not served here."""
        self.asked = Asked(message.model_name, message.model_version or None)
        self.parameters = parameters_of(message.parameters)
        self.tensors = [_tensor(tensor) for tensor in message.inputs]
        self.outputs = [_output(output) for output in message.outputs]
        self.layout: Any = None


class Request(NamedTuple):
    """A question with its id and with each tensor's values, *raw* or in the typed form."""

    question: Question
    id: bytes
    values: Sequence[Values]
    raw: bool


class Reader:
    """Reads requests, and remembers the questions in them: the next request is likely to ask the same one."""

    def __init__(self) -> None:
        self._questions: dict[bytes, Question] = {}

    def read(self, message: bytes) -> Request:
        """The request in *message*.

        Raises InvalidRequest if it is no ModelInferRequest, or has fields that are not of the protocol.
        """
        parts = split(message)
        if parts is None or not parts[2]:
            return _decoded(message)
        head, request_id, values = parts
        question = self._questions.get(head)
        if question is None:
            return self._remembered(head, _decoded(message))
        if len(values) != len(question.tensors):
            raise _count(len(values), len(question.tensors))
        return Request(question, request_id, values, True)

    def _remembered(self, head: bytes, request: Request) -> Request:
        if len(head) <= LONGEST_HEAD:
            if len(self._questions) >= KNOWN:
                self._questions.clear()
            self._questions[head] = request.question
        return request


def _decoded(message: bytes) -> Request:
    """The request as protobuf reads it."""
    try:
        found = ModelInferRequest.FromString(message)
    except DecodeError:
        raise InvalidRequest("the message is no ModelInferRequest: it ends early or is garbled") from None
    for part in _parts(found):
        require_known(part)
    question = Question(found)
    raw = bool(found.raw_input_contents)
    if raw:
        typed = next((tensor.name for tensor in found.inputs if tensor.contents.ByteSize()), None)
        if typed is not None:
            raise InvalidInput(f"input {typed!r} has contents, and so has raw_input_contents; use one of the two")
        if len(found.raw_input_contents) != len(found.inputs):
            raise _count(len(found.raw_input_contents), len(found.inputs))
    values: list[Values] = list(found.raw_input_contents) if raw else [tensor.contents for tensor in found.inputs]
    return Request(question, found.id.encode(), values, raw)


def require_known(message: Message) -> None:
    """Raises InvalidRequest for a message with a field that is not of the protocol: who sent it meant something."""
    if unknown := UnknownFieldSet(message):
        raise InvalidRequest(
            f"{message.DESCRIPTOR.name} has no field number {unknown[0].field_number} in the protocol served here"
        )


def _count(values: int, tensors: int) -> InvalidInput:
    return InvalidInput(
        f"raw_input_contents has {values} entries for {tensors} inputs; it wants one for each, in order"
    )


def _parts(message: ModelInferRequest) -> Iterator[Message]:
    yield message
    for tensor in message.inputs:
        yield tensor
        yield tensor.contents
        yield from tensor.parameters.values()
    for output in message.outputs:
        yield output
        yield from output.parameters.values()
    yield from message.parameters.values()


def _tensor(tensor: ModelInferRequest.InferInputTensor) -> AskedTensor:
    parameters = parameters_of(tensor.parameters)
    refuse_shared_memory(parameters, tensor.name)
    return AskedTensor(tensor.name, tensor.datatype, tuple(tensor.shape), parameters)


def _output(output: ModelInferRequest.InferRequestedOutputTensor) -> AskedOutput:
    parameters = parameters_of(output.parameters)
    refuse_shared_memory(parameters, output.name)
    return AskedOutput(output.name, classes_wanted(parameters, output.name))


def parameters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request, of a tensor or of a repository call as plain values."""
    return {key: _value(key, value) for key, value in given.items()}


def _value(key: str, parameter: Any) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidRequest(f"parameter {key!r} has no value")
    return getattr(parameter, choice)
