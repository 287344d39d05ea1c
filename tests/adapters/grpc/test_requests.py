"""What is read from a request, what is remembered of it, and what is refused at once?"""

from typing import Any

import numpy as np
import pytest
from tests.adapters.grpc.calls import request, tensor, typed

from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.requests import KNOWN, Reader
from headrace.domain.errors import EngineError, InvalidInput, InvalidRequest


def read(message: Any, reader: Reader | None = None) -> Any:
    return (reader or Reader()).read(message.SerializeToString())


def test_requests_that_differ_in_id_and_values_alone_ask_the_same_question() -> None:
    reader = Reader()

    first = read(request(id="a"), reader)
    second = read(request(id="b", raw=[bytes(16)]), reader)
    other = read(request(model="other", id="c"), reader)

    assert first.question is second.question
    assert other.question is not first.question
    assert (first.id, second.id) == (b"a", b"b")
    assert bytes(second.values[0]) == bytes(16)


def test_what_is_remembered_has_an_end() -> None:
    reader = Reader()

    for number in range(KNOWN + 10):
        read(request(model=f"m{number}"), reader)

    assert len(reader._questions) <= KNOWN


def test_parameters_are_plain_values() -> None:
    asked = request()
    asked.parameters["priority"].int64_param = 1
    asked.parameters["flag"].bool_param = True
    asked.parameters["colour"].string_param = "red"
    asked.parameters["scale"].double_param = 0.5
    asked.parameters["big"].uint64_param = 2**63

    found = read(asked).question.parameters

    assert found == {"priority": 1, "flag": True, "colour": "red", "scale": 0.5, "big": 2**63}


def bad() -> dict[str, tuple[bytes, type[EngineError], str]]:
    whole = request().SerializeToString()
    valueless = request()
    valueless.parameters["empty"].SetInParent()
    shared = request()
    shared.inputs[0].parameters["shared_memory_region"].string_param = "region"
    shared_out = request()
    shared_out.outputs.add(name="y").parameters["shared_memory_region"].string_param = "region"
    both = request("double", tensor("x", np.zeros((1, 2), np.float32)))
    both.inputs[0].contents.fp32_contents.extend([1, 2])
    inner = messages.ModelInferRequest.InferInputTensor.FromString(
        request().inputs[0].SerializeToString() + b"\x9a\x06\x01x"
    )
    unknown_inside = request("double", (inner, bytes(16)))
    classes = request()
    classes.outputs.add(name="y").parameters["classification"].int64_param = 0
    return {
        "truncated": (whole[:-3], InvalidRequest, "ends early"),
        "garbage": (b"\xff" * 40, InvalidRequest, "ends early"),
        "text": (b"hello, world", InvalidRequest, "ends early"),
        "an unknown field": (whole + b"\x9a\x06\x01x", InvalidRequest, "no field number 99"),
        "an unknown field inside": (unknown_inside.SerializeToString(), InvalidRequest, "no field number 99"),
        "a parameter without a value": (valueless.SerializeToString(), InvalidRequest, "'empty' has no value"),
        "shared memory": (shared.SerializeToString(), InvalidRequest, "shared memory"),
        "shared memory for an output": (shared_out.SerializeToString(), InvalidRequest, "shared memory"),
        "raw and typed": (both.SerializeToString(), InvalidInput, "one of the two"),
        "too few values": (request(raw=[b"", b""]).SerializeToString(), InvalidInput, "2 entries for 1 inputs"),
        "no class at all": (classes.SerializeToString(), InvalidRequest, "classification"),
    }


@pytest.mark.parametrize("case", bad())
def test_what_does_not_hold_is_refused_with_its_reason(case: str) -> None:
    message, kind, told = bad()[case]

    with pytest.raises(kind, match=told):
        Reader().read(message)


def test_what_is_refused_is_not_remembered() -> None:
    reader = Reader()
    with pytest.raises(InvalidInput):
        read(request(raw=[b"", b""]), reader)

    assert read(request(), reader).question.asked.name == "double"
    with pytest.raises(InvalidInput):
        read(request(raw=[b"", b""]), reader)


def test_without_raw_values_the_typed_ones_count() -> None:
    found = read(request("double", typed("x", "FP32", [1, 2], fp32_contents=[1, 2])))

    assert not found.raw
    assert list(found.values[0].fp32_contents) == [1, 2]
