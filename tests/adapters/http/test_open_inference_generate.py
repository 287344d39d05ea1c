"""Does text that is generated come whole or in events, and is a failure told where it happens?"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from headrace.domain.errors import InvalidInput
from headrace.domain.model import ModelAdapter
from headrace.domain.tensors import TensorSpec

PATH = "/v2/models/speaker"
TEXT = TensorSpec("string")


class Speaker(ModelAdapter):
    """Repeats the words of its text; *ended* tells that it was let go."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.waiting = asyncio.Event()
        self.ended = asyncio.Event()

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        pass

    def predict(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": list(inputs["text"])}

    async def generate(self, inputs: Mapping[str, Any], deadline: float | None) -> AsyncIterator[Mapping[str, Any]]:
        self.seen.append({name: column[0] for name, column in inputs.items()})
        try:
            for word in inputs["text"][0].split(" "):
                if word == "wait":
                    self.waiting.set()
                    await asyncio.Event().wait()
                if word == "fail":
                    raise InvalidInput("this word is not said")
                if word == "crash":
                    raise ValueError("see /srv/secret/place")
                yield {"text": [word + " "]}
        finally:
            self.ended.set()

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        return {"text": TEXT, "temperature": TensorSpec("float32", (-1,), "temperature", 1.0, True)}

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        return {"text": TEXT}


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def recipes(speaker: Speaker, add: Any) -> list[Any]:
    specs = speaker.get_input_spec(), speaker.get_output_spec()
    return [type(add)("speaker", *specs, speaker.predict, model=speaker), add]


@pytest.fixture
async def client(open_house: Any, connect: Any, recipes: list[Any]) -> AsyncIterator[Any]:
    async with open_house(recipes) as house, connect(house.app) as found:
        yield found


def events(body: str) -> list[Any]:
    parts = body.split("\n\n")
    assert parts.pop() == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts]


async def test_the_whole_text_comes_at_once(client: Any) -> None:
    answer = await client.post(f"{PATH}/generate", json={"text_input": "one two", "id": "7"})

    assert answer.json() == {"model_name": "speaker", "model_version": "1", "id": "7", "text_output": "one two "}


async def test_each_piece_of_text_is_an_event(client: Any) -> None:
    answer = await client.post(f"{PATH}/versions/1/generate_stream", json={"text_input": "one two"})

    told = {"model_name": "speaker", "model_version": "1"}
    assert events(answer.text) == [{**told, "text_output": "one "}, {**told, "text_output": "two "}]


@pytest.mark.parametrize("more", [{"temperature": 0.5}, {"parameters": {"temperature": 0.5, "colour": "red"}}])
async def test_other_inputs_stand_beside_the_text_or_among_the_parameters(
    client: Any, speaker: Speaker, more: dict[str, Any]
) -> None:
    answer = await client.post(f"{PATH}/generate", json={"text_input": "one", **more})

    assert answer.status_code == 200
    assert speaker.seen == [{"text": "one", "temperature": 0.5}]


async def test_a_failure_before_the_first_event_has_its_status(client: Any) -> None:
    for call in ("generate", "generate_stream"):
        answer = await client.post(f"{PATH}/{call}", json={"text_input": "fail"})

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("word", "code"), [("fail", "invalid_input"), ("crash", "model_failure")])
async def test_a_later_failure_is_the_last_event(client: Any, word: str, code: str) -> None:
    answer = await client.post(f"{PATH}/generate_stream", json={"text_input": f"one {word} two"})

    assert answer.status_code == 200
    first, last = events(answer.text)
    assert first["text_output"] == "one "
    assert last["code"] == code
    assert isinstance(last["error"], str)
    assert "/srv" not in last["error"]


async def test_the_timeout_parameter_ends_a_text_that_takes_too_long(client: Any, speaker: Speaker) -> None:
    body = {"text_input": "one wait", "parameters": {"timeout": 50_000}}

    answer = await client.post(f"{PATH}/generate_stream", json=body)

    assert events(answer.text)[-1]["code"] == "deadline_exceeded"
    await asyncio.wait_for(speaker.ended.wait(), 10)


async def test_a_client_that_leaves_ends_the_text(run_server: Any, recipes: list[Any], speaker: Speaker) -> None:
    body = b'{"text_input": "one wait"}'
    head = f"POST {PATH}/generate_stream HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with run_server(recipes=recipes) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + body)
        await asyncio.wait_for(reader.readuntil(b"one "), 10)
        await asyncio.wait_for(speaker.waiting.wait(), 10)

        writer.close()
        await writer.wait_closed()

        await asyncio.wait_for(speaker.ended.wait(), 10)


async def test_a_pipeline_that_does_not_generate_says_so(client: Any) -> None:
    answer = await client.post("/v2/models/add/generate", json={"text_input": "one"})

    assert answer.status_code == 400
    assert "takes no text" in answer.json()["error"]
