"""Does ModelStreamInfer answer every request of a stream, and go on when one fails?"""

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from tests.adapters.grpc.calls import Client, Running, request, tensor

from headrace.domain.fit import compose
from headrace.domain.model import GenerativeModel, ModelAdapter
from headrace.domain.pipeline import Pipeline
from headrace.domain.spec import ModelSpec, PipelineSpec
from headrace.domain.tensors import TensorSpec


class Writer(GenerativeModel, ModelAdapter):
    """Says a text word by word, and breaks at the word "break"."""

    def load(self, model_path: str, config: Any) -> None:
        pass

    def predict(self, inputs: Any) -> Any:
        return {"text": list(inputs["text"])}

    async def generate(self, inputs: Any, deadline: float | None) -> AsyncIterator[Any]:
        for word in inputs["text"][0].split():
            if word == "break":
                raise ValueError("a word too many")
            yield {"text": [word]}

    def get_input_spec(self) -> Any:
        return {"text": TensorSpec("string")}

    get_output_spec = get_input_spec


@pytest.fixture
async def writer(server: Running) -> Client:
    model = Writer()
    spec = PipelineSpec("writer", ModelSpec("writer-model", type="python"))
    plan = compose((), model.get_input_spec(), model.get_output_spec(), ())
    await server.house.inference.engine.add(Pipeline(spec, plan, model, model_name="writer-model"))
    return server.client


def text(value: str, **more: Any) -> Any:
    return request("writer", tensor("text", [value.encode()]), **more)


async def said(stream: Any, number: int) -> list[Any]:
    return [await stream.read() for _ in range(number)]


async def test_each_request_gets_its_answer_in_order(client: Client) -> None:
    stream = client.stream()

    for number in range(5):
        await stream.write(request("double", tensor("x", np.full((1, 2), number, np.float32)), id=str(number)))
    await stream.done_writing()
    answers = [answer async for answer in stream]

    assert [answer.infer_response.id for answer in answers] == list("01234")
    assert [answer.infer_response.raw_output_contents[0][:4] for answer in answers] == [
        np.float32(2 * number).tobytes() for number in range(5)
    ]
    assert await stream.code() == grpc.StatusCode.OK


async def test_what_fails_is_told_in_the_stream_which_goes_on(client: Client) -> None:
    stream = client.stream()

    await stream.write(request("nothing", id="bad"))
    await stream.write(b"\xff\xff")
    await stream.write(request(id="good"))
    bad, garbage, good = await said(stream, 3)
    await stream.done_writing()

    assert "no pipeline 'nothing'" in bad.error_message
    assert bad.infer_response.id == "bad"
    assert "ends early" in garbage.error_message
    assert (good.error_message, good.infer_response.id) == ("", "good")


async def test_a_generative_pipeline_answers_in_chunks(writer: Client) -> None:
    stream = writer.stream()

    await stream.write(text("one two three", id="q"))
    chunks = await said(stream, 3)
    await stream.done_writing()

    assert [chunk.infer_response.raw_output_contents[0][4:] for chunk in chunks] == [b"one", b"two", b"three"]
    assert {chunk.infer_response.id for chunk in chunks} == {"q"}
    assert "triton_final_response" not in chunks[-1].infer_response.parameters


async def test_the_end_of_an_answer_is_marked_where_that_is_asked_for(writer: Client) -> None:
    stream = writer.stream()
    asked = text("one two")
    asked.parameters["triton_enable_empty_final_response"].bool_param = True

    await stream.write(asked)
    chunks = await said(stream, 3)
    await stream.done_writing()

    marks = [chunk.infer_response.parameters["triton_final_response"].bool_param for chunk in chunks]
    assert marks == [False, False, True]
    assert not chunks[-1].infer_response.outputs


async def test_an_answer_that_breaks_off_says_why_after_what_was_said(writer: Client) -> None:
    stream = writer.stream()

    await stream.write(text("one break two"))
    first, second = await said(stream, 2)
    await stream.write(text("more"))
    (third,) = await said(stream, 1)
    await stream.done_writing()

    assert first.infer_response.raw_output_contents[0][4:] == b"one"
    assert "a word too many" in second.error_message
    assert third.infer_response.raw_output_contents[0][4:] == b"more"


async def test_the_same_pipeline_answers_a_single_call_whole(writer: Client) -> None:
    answer = await writer.infer(text("one two"))

    assert answer.raw_output_contents[0][4:] == b"one two"


async def test_a_client_who_leaves_frees_the_answer(server: Running, writer: Client, eventually: Any) -> None:
    stream = writer.stream()
    await stream.write(text("a " * 10_000))
    await said(stream, 1)

    stream.cancel()

    await eventually(lambda: server.house.inference.in_flight == 0)
    assert (await writer.infer(request())).model_name == "double"


@pytest.mark.parametrize(
    ("of_stream_s", "own_us", "wanted_s"), [(5.0, 0, 5.0), (100.0, 0, 30.0), (5.0, 2_000_000, 2.0)]
)
async def test_a_request_has_the_time_of_the_stream_of_its_pipeline_or_its_own_the_shortest(
    server: Running, of_stream_s: float, own_us: int, wanted_s: float
) -> None:
    left: list[float] = []
    inference = server.house.inference
    infer = inference.infer

    async def listening(choice: Any, inputs: Any, about: Any) -> Any:
        left.append(choice.pipeline.spec.timeout_s if about.deadline is None else about.deadline - time.monotonic())
        return await infer(choice, inputs, about)

    inference.infer = listening  # type: ignore[method-assign]
    asked = request("double", tensor("x", np.ones((1, 2), np.float32)))
    if own_us:
        asked.parameters["timeout"].int64_param = own_us
    stream = server.client.stream(timeout=of_stream_s)
    await stream.write(asked)
    await stream.read()

    assert wanted_s - 2 < left[0] <= wanted_s
