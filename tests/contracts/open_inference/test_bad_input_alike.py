"""Does the same mistake get the same code and the same words at both doors, and are both usable afterwards?"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.grpc.calls import Failure
from tests.contracts.open_inference import rules
from tests.contracts.open_inference.doors import as_binary, datatype_of, packed
from tests.contracts.open_inference.echoes import Served
from tests.contracts.open_inference.lines import Line
from tests.contracts.open_inference.rules import breaches

from headrace.adapters.grpc.errors import STATUS as GRPC_STATUS
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.http.errors import STATUS as HTTP_STATUS

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "float32-vector"
UNLOADED = "uint16-vector"
ROWS = np.ones((2, 3), np.float32)


@dataclass(frozen=True)
class Mistake:
    """A mistake as each form of request makes it (no *json*: that form cannot), its code, and words of every answer.

    *grpc_code* is the code of gRPC where it differs: what REST finds in the lengths of a body, the fault of the
    request, gRPC finds in those of a tensor.
    """

    json: bytes
    binary: tuple[bytes, int]
    grpc: bytes
    code: str
    told: str
    model: str = MODEL
    grpc_code: str = ""

    def bodies(self) -> list[tuple[bytes, str | None]]:
        """The bodies by REST, and what the header says of each."""
        return [*([(self.json, None)] if self.json else []), (self.binary[0], str(self.binary[1]))]


def as_json(change: Callable[[dict[str, Any]], Any] = lambda request: None) -> bytes:
    """A JSON request for two rows after *change*."""
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": ROWS.ravel().tolist()}
    request = {"inputs": [tensor]}
    change(request)
    return json.dumps(request).encode()


def as_body(change: Callable[[dict[str, Any]], Any] = lambda request: None, tail: bytes = b"") -> tuple[bytes, int]:
    """The same with the values behind the JSON, and how long that is."""
    tensor, raw = as_binary(ROWS)
    request = {"inputs": [tensor]}
    change(request)
    head = json.dumps(request).encode()
    return head + raw + tail, len(head)


def as_message(change: Callable[[Any], Any] = lambda request: None) -> bytes:
    """The same as a gRPC message with raw contents."""
    request = messages.ModelInferRequest(model_name=MODEL, raw_input_contents=[packed(ROWS)])
    request.inputs.add(name="x", datatype=datatype_of(ROWS), shape=ROWS.shape)
    change(request)
    encoded: bytes = request.SerializeToString()
    return encoded


def sets(**values: Any) -> tuple[Callable[[dict[str, Any]], Any], Callable[[Any], Any]]:
    """Changes fields of the only input, in JSON and in a message."""

    def in_json(request: dict[str, Any]) -> None:
        request["inputs"][0].update(values)

    def in_message(request: Any) -> None:
        for name, value in values.items():
            if isinstance(value, list):
                getattr(request.inputs[0], name)[:] = value
            else:
                setattr(request.inputs[0], name, value)

    return in_json, in_message


def everywhere(changes: tuple[Callable[[Any], Any], Callable[[Any], Any]], code: str, told: str) -> Mistake:
    """A mistake that every form can make."""
    in_json, in_message = changes
    return Mistake(as_json(in_json), as_body(in_json), as_message(in_message), code, told)


def says_too_long(request: dict[str, Any]) -> None:
    request["inputs"][0]["parameters"]["binary_data_size"] += 4


WRONG: dict[str, Mistake] = {
    "a datatype that does not fit": everywhere(
        sets(datatype="BYTES"), "invalid_input", "input 'x' is FP32, not BYTES"),
    "a datatype that is none": everywhere(
        sets(datatype="FLOAT"), "invalid_input", "input 'x' has the datatype 'FLOAT'"),
    "a shape of more than the data": everywhere(
        sets(shape=[3, 3]), "invalid_input", "input 'x' has the shape [3, 3], which is 9 values, and "),
    "a shape of less than the data": everywhere(
        sets(shape=[1, 3]), "invalid_input", "input 'x' has the shape [1, 3], which is 3 values, and "),
    "a shape that none can have": everywhere(
        sets(shape=[-2, 3]), "invalid_input", "input 'x' has the impossible shape [-2, 3]"),
    "rows of another width": everywhere(
        sets(shape=[3, 2]), "invalid_input", "column 'x' wants rows of shape [3], not [2]"),
    "an unknown input": everywhere(
        sets(name="z"), "invalid_input", "unknown input 'z'"),
    "a binary length that lies": Mistake(
        b"", as_body(says_too_long), as_message(lambda one: one.raw_input_contents.__setitem__(0, b"abc")),
        "invalid_request", "input 'x'", grpc_code="invalid_input"),
    "more values than inputs": Mistake(
        b"", as_body(tail=b"abcd"), as_message(lambda one: one.raw_input_contents.append(b"abcd")),
        "invalid_request", "", grpc_code="invalid_input"),
    "a header length beyond the body": Mistake(
        b"", (as_body()[0], 10_000), as_message()[:-30], "invalid_request", ""),
    "an unknown output": everywhere(
        (lambda one: one.update(outputs=[{"name": "z"}]), lambda one: one.outputs.add(name="z")),
        "invalid_request", "unknown output 'z'"),
    "an output twice": everywhere(
        (lambda one: one.update(outputs=[{"name": "x"}] * 2),
         lambda one: one.outputs.extend([messages.ModelInferRequest.InferRequestedOutputTensor(name="x")] * 2)),
        "invalid_request", "an output is asked for twice"),
    "a model that is not loaded": Mistake(
        as_json(), as_body(), as_message(lambda one: setattr(one, "model_name", UNLOADED)),
        "not_ready", f"pipeline {UNLOADED!r} does not answer: {UNLOADED}@1 is unloaded", UNLOADED),
    "a model that is not there": Mistake(
        as_json(), as_body(), as_message(lambda one: setattr(one, "model_name", "nothing")),
        "not_found", "no pipeline 'nothing'", "nothing"),
    "a message that is cut off": Mistake(
        as_json()[:-20], (as_body()[0][:20], 20), as_message()[:-3], "invalid_request", ""),
    "a field that is not of the protocol": Mistake(
        as_json(lambda one: one.update(colour="red")), as_body(lambda one: one.update(colour="red")),
        as_message() + b"\x9a\x06\x01x", "invalid_request", " field "),
    "a field of the input that is not of the protocol": Mistake(
        as_json(sets(colour="red")[0]), as_body(sets(colour="red")[0]),
        messages.ModelInferRequest(model_name=MODEL).SerializeToString() + b"\x2a\x04\x9a\x06\x01x",
        "invalid_request", " field "),
    "a negative timeout": everywhere(
        (lambda one: one.update(parameters={"timeout": -1}),
         lambda one: setattr(one.parameters["timeout"], "int64_param", -1)),
        "invalid_request", "parameter 'timeout' wants an integer that is not negative"),
    "a sequence": everywhere(
        (lambda one: one.update(parameters={"sequence_id": 7}),
         lambda one: setattr(one.parameters["sequence_id"], "int64_param", 7)),
        "invalid_request", "parameter 'sequence_id': the sequence extension is not served here"),
    "shared memory": everywhere(
        (lambda one: one["inputs"][0].update(parameters={"shared_memory_region": "r"}),
         lambda one: setattr(one.inputs[0].parameters["shared_memory_region"], "string_param", "r")),
        "invalid_request", "tensor 'x': shared memory is not served here"),
}  # fmt: skip
"""Mistakes by what they are."""


@pytest.fixture(autouse=True)
async def _one_model_is_not_loaded(served: Served) -> None:
    if UNLOADED in served.workspace.inference.engine.registry.names():
        await served.workspace.deployments.unload(UNLOADED)


@pytest.mark.parametrize("what", WRONG)
async def test_the_same_mistake_gets_the_same_answer_everywhere(served: Served, line: Line, what: str) -> None:
    wrong = WRONG[what]
    path = f"/v2/models/{wrong.model}/infer"

    for body, head in wrong.bodies():
        status, answer = await line.post(path, body, head)
        again, _ = await line.post(f"/v2/models/{MODEL}/infer", as_json(), None)

        assert breaches(answer, rules.ERROR) == []
        assert (answer["code"], status) == (wrong.code, HTTP_STATUS[wrong.code])
        assert wrong.told in answer["error"]
        assert again == 200


@pytest.mark.parametrize("what", WRONG)
async def test_by_grpc_too(served: Served, what: str) -> None:
    wrong = WRONG[what]

    answer = await served.grpc.infer(wrong.grpc)
    state = served.grpc.channel.get_state()
    again = await served.grpc.infer(as_message())

    assert isinstance(answer, Failure)
    assert answer.code == (wrong.grpc_code or wrong.code)
    assert answer.status == GRPC_STATUS[answer.code]
    assert wrong.told in answer.told
    assert state == grpc.ChannelConnectivity.READY
    assert isinstance(again, messages.ModelInferResponse)


FUZZ = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@FUZZ
@given(
    start=st.integers(0, 80),
    length=st.integers(0, 12),
    put=st.binary(max_size=12),
    cut=st.none() | st.integers(0, 80),
    typed=st.booleans(),
)
async def test_no_damaged_message_breaks_anything(
    served: Served, start: int, length: int, put: bytes, cut: int | None, typed: bool
) -> None:
    whole = as_message(_in_typed_contents) if typed else as_message()

    answer = await served.grpc.infer((whole[:start] + put + whole[start + length :])[:cut])

    if isinstance(answer, Failure):
        assert answer.code in ("invalid_request", "invalid_input", "not_found"), answer


def _in_typed_contents(request: Any) -> None:
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend(ROWS.ravel().tolist())
