"""What does bad input get? The protocol's error with our code beside it, on a connection that stays usable."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from tests.adapters.grpc.calls import Client, Failure, Running, request, running, tensor, typed
from tests.adapters.http.conftest import ADD

ROW = np.array([[1, 2]], np.float32)


def named(**changes: Any) -> Any:
    return request("double", tensor("x", ROW, **changes))


def asking(output: str) -> Any:
    asked = request()
    asked.outputs.add(name=output)
    return asked


def twice() -> Any:
    asked = request()
    asked.outputs.add(name="y")
    asked.outputs.add(name="y")
    return asked


def steered(key: str, **value: Any) -> Any:
    asked = request()
    for kind, one in value.items():
        setattr(asked.parameters[key], kind, one)
    return asked


def texts(raw: bytes, shape: list[int]) -> Any:
    return request("shout", tensor("text", [b""], shape=shape), raw=[raw])


BAD: dict[str, tuple[Any, str, str]] = {
    "a datatype that is none": (named(datatype="FLOAT32"), "invalid_input", "there are: BOOL"),
    "a datatype that does not fit": (named(datatype="BYTES"), "invalid_input", "is FP32, not BYTES"),
    "another size of number": (named(datatype="FP64"), "invalid_input", "16 bytes of FP64"),
    "a shape of more": (named(shape=[2, 2]), "invalid_input", "16 bytes of FP32; 8 bytes were sent"),
    "a shape of less": (named(shape=[1, 1]), "invalid_input", "4 bytes of FP32; 8 bytes were sent"),
    "a row of another width": (named(shape=[2, 1]), "invalid_input", "shape [2], not [1]"),
    "a negative shape": (named(shape=[-1, 2]), "invalid_input", "impossible shape"),
    "a monstrous shape": (named(shape=[2**40, 2**40]), "invalid_input", "impossible shape"),
    "a shape of fifty axes": (named(shape=[1] * 50), "invalid_input", "impossible shape"),
    "much of nothing": (request("double", tensor("x", ROW, shape=[2**30, 0]), raw=[b""]), "invalid_input", "nothing"),
    "no axis": (named(shape=[]), "invalid_input", "no axis"),
    "a length that lies": (request(raw=[b"abc"]), "invalid_input", "3 bytes were sent"),
    "no values": (request(raw=[b""]), "invalid_input", "0 bytes were sent"),
    "an element beyond the end": (texts(b"\xff\0\0\0ab", [1]), "invalid_input", "middle of an element"),
    "an element of 4 GB": (texts(b"\xff\xff\xff\xffab", [1]), "invalid_input", "middle of an element"),
    "half a length": (texts(b"\x01\0", [1]), "invalid_input", "middle of an element"),
    "fewer elements": (texts(b"\x01\0\0\0a", [2]), "invalid_input", "1 were sent"),
    "more elements": (texts(b"\0\0\0\0" * 3, [2]), "invalid_input", "3 were sent"),
    "text that is not UTF-8": (texts(b"\x01\0\0\0\xff", [1]), "invalid_input", "not UTF-8"),
    "an unknown input": (request("double", tensor("z", ROW)), "invalid_input", "unknown input 'z'"),
    "an input twice": (request("double", tensor("x", ROW), tensor("x", ROW)), "invalid_input", "twice"),
    "an input that is missing": (request("transpose", tensor("n", ROW)), "invalid_input", "unknown input"),
    "an unknown output": (asking("z"), "invalid_request", "unknown output 'z'"),
    "an output twice": (twice(), "invalid_request", "twice"),
    "a model that is not there": (request("duoble"), "not_found", "did you mean 'double'?"),
    "a version that is not there": (request(model_version="7"), "not_found", "no version or alias '7'"),
    "a version that is not said": (request("two"), "ambiguous_version", "1, 2"),
    "no model": (request(""), "invalid_request", "names no pipeline"),
    "a failing row": (
        request("double", tensor("x", np.array([[1, 2], [13, 2]], np.float32))), "model_failure", "unlucky"),
    "a negative timeout": (steered("timeout", int64_param=-1), "invalid_request", "not negative"),
    "a priority in words": (steered("priority", string_param="high"), "invalid_request", "integer"),
    "a sequence": (steered("sequence_id", int64_param=7), "invalid_request", "sequence"),
    "contents of another kind": (
        request("double", typed("x", "FP32", [1, 2], fp64_contents=[1, 2])), "invalid_input", "stand in fp32_contents"),
    "too few contents": (
        request("double", typed("x", "FP32", [1, 2], fp32_contents=[1])), "invalid_input", "2 values, and 1 were sent"),
    "no contents": (request("double", typed("x", "FP32", [1, 2])), "invalid_input", "0 were sent"),
    "a number beyond its range": (
        request("double", typed("x", "INT8", [1, 2], int_contents=[300, 1])), "invalid_input", "300 is beyond"),
    "a truncated message": (request().SerializeToString()[:-3], "invalid_request", "ends early"),
    "garbage": (b"\xff" * 100, "invalid_request", "ends early"),
    "an unknown field": (request().SerializeToString() + b"\x9a\x06\x01x", "invalid_request", "field number 99"),
}  # fmt: skip
STATUS = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "ambiguous_version": grpc.StatusCode.FAILED_PRECONDITION,
    "model_failure": grpc.StatusCode.INTERNAL,
}


@pytest.mark.parametrize("case", BAD)
async def test_what_does_not_hold_gets_its_status_and_its_reason(client: Client, case: str) -> None:
    asked, code, told = BAD[case]

    answer = await client.infer(asked)

    assert isinstance(answer, Failure)
    assert (answer.status, answer.code) == (STATUS.get(code, grpc.StatusCode.INVALID_ARGUMENT), code)
    assert told in answer.told
    assert "/srv" not in answer.told
    assert (await client.infer(request())).model_name == "double"


async def test_inputs_must_agree_about_their_rows() -> None:
    async with running([ADD]) as server:
        given = [tensor("a", np.array([1, 2], np.float32)), tensor("b", np.array([1], np.float32))]
        answer = await server.client.infer(request("add", *given))

    assert "axis 0 is the row" in answer.told


async def test_a_model_that_is_not_loaded_is_not_ready(server: Running) -> None:
    await server.house.deployments.unload("double")

    answer = await server.client.infer(request())

    assert (answer.status, answer.code) == (grpc.StatusCode.UNAVAILABLE, "not_ready")
    assert int(answer.trailers["grpc-retry-pushback-ms"]) > 0


async def test_good_requests_beside_bad_ones_are_answered(client: Client) -> None:
    asked = [request() if number % 2 else BAD["a length that lies"][0] for number in range(40)]

    answers = await asyncio.gather(*(client.infer(one) for one in asked))

    assert [isinstance(answer, Failure) for answer in answers] == [number % 2 == 0 for number in range(40)]


async def test_the_id_of_the_request_comes_back_with_its_failure(client: Client) -> None:
    given = await client.infer(b"\xff", metadata=[("x-request-id", "mine-1")])
    made = await client.infer(b"\xff")

    assert given.trailers["x-request-id"] == "mine-1"
    assert made.trailers["x-request-id"]


async def test_an_unknown_method_and_an_unknown_service(server: Running) -> None:
    for path in ("/inference.GRPCInferenceService/Nothing", "/other.Service/ModelInfer"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.client.channel.unary_unary(path)(b"")

        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
