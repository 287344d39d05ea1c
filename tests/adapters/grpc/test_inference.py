"""Does ModelInfer answer as the protocol says?"""

import asyncio
import json
from typing import Any

import grpc
import numpy as np
import pytest
from tests.adapters.grpc.calls import Client, Running, request, running, tensor, typed
from tests.adapters.http.conftest import ADD, DOUBLE, ROUTED_ONE, ROUTED_TWO, Recipe

from headrace.adapters.http.settings import ApiSettings
from headrace.adapters.open_inference.datatypes import DATATYPES, DTYPES
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import RouteSpec
from headrace.domain.tensors import TensorSpec

OPENING = [0.1, 0.7, 0.2]


def mirror(dtype: str) -> Recipe:
    spec = TensorSpec(dtype, (-1, 3))
    return Recipe(f"mirror-{dtype}", {"x": spec}, {"y": spec}, lambda inputs: {"y": inputs["x"]})


def values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([[True, False, True], [False, False, True]])
    if np.dtype(dtype).kind == "f":
        return np.array([[0.5, -1.5, 0.1], [65504, 0, 1]], dtype)
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max, 3], [0, 1, 2]], dtype)


def array_of(answer: Any, place: int = 0) -> np.ndarray:
    output = answer.outputs[place]
    return np.frombuffer(answer.raw_output_contents[place], DTYPES[output.datatype]).reshape(output.shape)


async def test_raw_values_are_answered_raw(client: Client) -> None:
    answer = await client.infer(request(id="q-1"))

    assert (answer.model_name, answer.model_version, answer.id) == ("double", "1", "q-1")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [("y", "FP32", [2, 2])]
    assert not answer.outputs[0].HasField("contents")
    assert array_of(answer).tolist() == [[2, 4], [6, 8]]


async def test_typed_values_are_answered_typed(client: Client) -> None:
    given = typed("x", "FP32", [2, 2], fp32_contents=[1, 2, 3, 4])

    answer = await client.infer(request("double", given, id="q-2"))

    assert answer.id == "q-2"
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.fp32_contents) == [2, 4, 6, 8]


@pytest.mark.parametrize("dtype", DATATYPES)
async def test_every_datatype_travels_raw(dtype: str) -> None:
    async with running([mirror(dtype)]) as server:
        for array in (values(dtype), values(dtype)[:1], values(dtype)[:0]):
            answer = await server.client.infer(request(f"mirror-{dtype}", tensor("x", array)))

            assert answer.outputs[0].datatype == DATATYPES[dtype]
            assert np.array_equal(array_of(answer), array)


CONTENTS = {
    "bool": "bool_contents", "int8": "int_contents", "int16": "int_contents", "int32": "int_contents",
    "int64": "int64_contents", "uint8": "uint_contents", "uint16": "uint_contents", "uint32": "uint_contents",
    "uint64": "uint64_contents", "float32": "fp32_contents", "float64": "fp64_contents",
}  # fmt: skip


@pytest.mark.parametrize("dtype", CONTENTS)
async def test_every_datatype_but_one_travels_typed(dtype: str) -> None:
    async with running([mirror(dtype)]) as server:
        for array in (values(dtype), values(dtype)[:0]):
            contents = {CONTENTS[dtype]: array.ravel().tolist()}
            given = typed("x", DATATYPES[dtype], array.shape, **contents)
            answer = await server.client.infer(request(f"mirror-{dtype}", given))

            found = getattr(answer.outputs[0].contents, CONTENTS[dtype])
            assert np.array_equal(np.array(found, dtype).reshape(answer.outputs[0].shape), array)


async def test_fp16_has_no_typed_form_and_is_answered_raw() -> None:
    half = Recipe(
        "half", {"x": TensorSpec("float32", (-1, 2))}, {"y": TensorSpec("float16", (-1, 2))},
        lambda inputs: {"y": inputs["x"].astype(np.float16)},
    )  # fmt: skip
    async with running([half]) as server:
        given = typed("x", "FP32", [1, 2], fp32_contents=[1, 2])
        answered = await server.client.infer(request("half", given))
        refused = await server.client.infer(request("half", typed("x", "FP16", [1, 2], fp32_contents=[1, 2])))

    assert array_of(answered).tolist() == [[1, 2]]
    assert "only in raw_input_contents" in refused.told


async def test_texts_travel_with_their_length_before_them(client: Client) -> None:
    given = tensor("text", [b"a", "ö".encode(), b""])

    raw = await client.infer(request("shout", given))
    contents = await client.infer(request("shout", typed("text", "BYTES", [1], bytes_contents=["ö".encode()])))

    assert raw.raw_output_contents[0] == b"\x01\0\0\0A\x02\0\0\0" + "Ö".encode() + b"\0\0\0\0"
    assert list(contents.outputs[0].contents.bytes_contents) == ["Ö".encode()]


async def test_bytes_are_any_bytes_and_what_is_no_tensor_is_json(client: Client) -> None:
    answer = await client.infer(request("measure", tensor("image", [b"\0\xff"])))

    assert [output.name for output in answer.outputs] == ["size", "copy", "prediction"]
    assert array_of(answer).tolist() == [2]
    assert answer.raw_output_contents[1] == b"\x02\0\0\0\0\xff"
    assert answer.outputs[2].parameters["content_type"].string_param == "json"
    assert json.loads(answer.raw_output_contents[2][4:]) == {"class_name": "dog", "confidence": 0.5}


async def test_without_a_batch_axis_the_tensor_is_one_row(client: Client) -> None:
    given = tensor("m", np.arange(6, dtype=np.float32).reshape(2, 3))

    answer = await client.infer(request("transpose", given))

    assert array_of(answer).tolist() == [[0, 3], [1, 4], [2, 5]]


async def test_outputs_are_chosen_and_ordered_by_the_request(client: Client) -> None:
    asked = request("measure", tensor("image", [b"hi"]))
    asked.outputs.add(name="prediction")
    asked.outputs.add(name="size")

    answer = await client.infer(asked)

    assert [output.name for output in answer.outputs] == ["prediction", "size"]


async def test_an_optional_input_has_its_default() -> None:
    async with running([ADD]) as server:
        answer = await server.client.infer(request("add", tensor("a", np.array([1, 2], np.float32))))

    assert array_of(answer).tolist() == [11, 12]


async def test_a_version_and_an_alias_are_followed(client: Client) -> None:
    for version, told in (("2", "2"), ("canary", "2"), ("", "1")):
        answer = await client.infer(request("routed", model_version=version))

        assert answer.model_version == told


@pytest.mark.parametrize("name", ["routed", ""])
async def test_metadata_choose_the_route(name: str) -> None:
    async with running([ROUTED_ONE, ROUTED_TWO]) as server:
        route = RouteSpec("routed", default="1", split={"1": 50, "2": 50})
        server.house.inference.router.replace([route], {})
        server.house.inference.default = "routed"
        server.house.inference.forget_choices()

        found = [
            {(await server.client.infer(request(name), metadata=[("x-routing-key", key)])).model_version
             for _ in range(3)}
            for key in "abcdefgh"
        ]  # fmt: skip

    assert all(len(versions) == 1 for versions in found)
    assert set.union(*found) == {"1", "2"}


async def test_the_model_may_write_into_its_inputs() -> None:
    def halved(inputs: Any) -> Any:
        inputs["x"] /= 2
        return {"y": inputs["x"]}

    spec = TensorSpec("float32", (-1, 2))
    async with running([Recipe("half", {"x": spec}, {"y": spec}, halved)]) as server:
        answer = await server.client.infer(request("half"))

    assert array_of(answer).tolist() == [[0.5, 1], [1.5, 2]]


async def test_classification_gives_the_best_classes() -> None:
    async with running([mirror("float32")]) as server:
        asked = request("mirror-float32", tensor("x", np.array([OPENING, OPENING[::-1]], np.float32)))
        asked.outputs.add(name="y").parameters["classification"].int64_param = 2
        answer = await server.client.infer(asked)
        too_many = request("mirror-float32", tensor("x", np.array([OPENING], np.float32)))
        too_many.outputs.add(name="y").parameters["classification"].int64_param = 9
        every = await server.client.infer(too_many)

    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 2])
    assert elements(answer.raw_output_contents[0]) == [b"0.7:1", b"0.2:2", b"0.7:1", b"0.2:0"]
    assert list(every.outputs[0].shape) == [1, 3]


def elements(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return found


async def test_requests_meet_in_batches_and_each_gets_its_own_answer(server: Running) -> None:
    arrays = [np.full((number % 3 + 1, 2), 100 + number, np.float32) for number in range(50)]

    answers = await asyncio.gather(*(server.client.infer(request("double", tensor("x", one))) for one in arrays))

    for array, answer in zip(arrays, answers, strict=True):
        assert np.array_equal(array_of(answer), array * 2)


async def test_a_model_that_was_replaced_is_not_answered_from_what_is_remembered(server: Running) -> None:
    await server.client.infer(request())
    wider = TensorSpec("float32", (-1, 3))
    recipe = Recipe("double", {"x": wider}, {"z": wider}, lambda inputs: {"z": inputs["x"]})
    server.house.workspace.recipes[recipe_ref(recipe)] = recipe
    await server.house.deployments.reload("double")

    old = await server.client.infer(request())
    new = await server.client.infer(request("double", tensor("x", np.zeros((1, 3), np.float32))))

    assert old.code == "invalid_input"
    assert [output.name for output in new.outputs] == ["z"]


def recipe_ref(recipe: Recipe) -> Any:
    return PipelineRef(recipe.name, recipe.version)


async def test_the_timeout_parameter_is_a_deadline(blocker: Any) -> None:
    async with running([blocker.recipe]) as server:
        asked = request("slow")
        asked.parameters["timeout"].int64_param = 20_000
        answer = await server.client.infer(asked)
        blocker.let_go.set()

    assert (answer.status, answer.code) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded")


async def test_the_deadline_of_the_call_reaches_the_queue(blocker: Any, eventually: Any) -> None:
    async with running([blocker.recipe]) as server:
        first = asyncio.create_task(server.client.infer(request("slow")))
        await asyncio.to_thread(blocker.entered.wait, 10)
        answer = await server.client.infer(request("slow"), timeout=0.1)
        await eventually(lambda: server.house.inference.in_flight == 1)
        blocker.let_go.set()
        await first

        assert answer.status == grpc.StatusCode.DEADLINE_EXCEEDED
        assert blocker.calls == 1


async def test_a_caller_who_leaves_frees_its_place(blocker: Any, eventually: Any) -> None:
    async with running([blocker.recipe]) as server:
        first = asyncio.create_task(server.client.infer(request("slow")))
        await asyncio.to_thread(blocker.entered.wait, 10)
        leaving = asyncio.create_task(server.client.infer(request("slow")))
        await eventually(lambda: server.house.inference.in_flight == 2)
        leaving.cancel()
        await eventually(lambda: server.house.inference.in_flight == 1)
        blocker.let_go.set()
        answer = await first

    assert array_of(answer).tolist() == [[2, 4], [6, 8]]
    assert blocker.calls == 1


async def test_measures_call_the_door_grpc(server: Running) -> None:
    await server.client.infer(request())
    await server.client.infer(b"\xff")

    found = {(one.pipeline, one.door, one.code) for one, _ in server.house.inference.measures.labelled()}

    assert found == {("double", "grpc", "ok"), ("", "grpc", "invalid_request")}


async def test_a_compressed_request_is_unpacked_within_the_limit() -> None:
    settings = ApiSettings(max_body_mb=1)
    async with running([DOUBLE], settings, channel=[("grpc.max_send_message_length", -1)]) as server:
        rows = np.zeros((1000, 2), np.float32)
        fits = await server.client.infer(request("double", tensor("x", rows)), compression=grpc.Compression.Gzip)
        bomb = np.zeros((2_000_000, 2), np.float32)
        bursts = await server.client.infer(request("double", tensor("x", bomb)), compression=grpc.Compression.Gzip)
        alive = await server.client.infer(request())

    assert array_of(fits).shape == (1000, 2)
    assert bursts.status == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert array_of(alive).shape == (2, 2)


async def test_a_message_beyond_the_limit_is_refused() -> None:
    async with running([DOUBLE], ApiSettings(max_body_mb=0.01)) as server:
        answer = await server.client.infer(request("double", tensor("x", np.zeros((10_000, 2), np.float32))))

    assert answer.status == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_lists_have_a_limit_of_rows() -> None:
    text = Recipe("text", {"x": TensorSpec("string")}, {"y": TensorSpec("string")}, lambda inputs: {"y": inputs["x"]})
    async with running([DOUBLE, text], ApiSettings(max_rows=10)) as server:
        many = await server.client.infer(request("text", tensor("x", [b""] * 11)))
        numbers = await server.client.infer(request("double", tensor("x", np.zeros((11, 2), np.float32))))

    assert (many.status, many.code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too_large")
    assert array_of(numbers).shape == (11, 2)
