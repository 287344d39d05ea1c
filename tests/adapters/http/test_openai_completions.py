"""Do generated answers come whole and in events, in the exact shape, and end when the client leaves?"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from headrace.adapters.http import event_stream
from headrace.adapters.http.call import Call, ClientLeft
from headrace.adapters.http.event_stream import EventStream
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.errors import InvalidInput
from headrace.domain.model import ModelAdapter
from headrace.domain.tensors import TensorSpec

TEXT = TensorSpec("string")
ANY = TensorSpec("any", None)
Specs = Mapping[str, TensorSpec]


class Speaker(ModelAdapter):
    """Repeats the words of its text; what it was given is in *seen*, whether it was ended early in *ended*."""

    def __init__(self, takes: Specs) -> None:
        self._takes = takes
        self.seen: list[dict[str, Any]] = []
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        pass

    def predict(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": ["" for _ in next(iter(inputs.values()))]}

    async def generate(self, inputs: Mapping[str, Any], deadline: float | None) -> AsyncIterator[Mapping[str, Any]]:
        self.seen.append({name: column[0] for name, column in inputs.items()})
        text = inputs["text"][0] if "text" in inputs else inputs["messages"][0][-1]["content"]
        try:
            for word in text.split(" "):
                if word == "wait":
                    self.waiting.set()
                    await self.go_on.wait()
                if word == "fail":
                    raise InvalidInput("this word is not said")
                if word == "crash":
                    raise ValueError("see /srv/secret/place")
                yield {"text": [word + " "]}
        finally:
            self.ended.set()

    def get_input_spec(self) -> Specs:
        return self._takes

    def get_output_spec(self) -> Specs:
        return {"text": TEXT}


def optional(name: str, dtype: str, default: Any) -> TensorSpec:
    return TensorSpec(dtype, (-1,), name, default, True)


PLAIN = {"text": TEXT}
TUNED = {
    "text": TEXT,
    "max_tokens": optional("max_tokens", "int64", 0),
    "temperature": optional("temperature", "float32", 1.0),
    "seed": optional("seed", "int64", -1),
    "top_k": optional("top_k", "int64", 0),
}
CHATTY = {"messages": ANY, "tools": TensorSpec("any", None, "tools", None, True)}


@pytest.fixture
def models() -> dict[str, Speaker]:
    return {"plain": Speaker(PLAIN), "tuned": Speaker(TUNED), "chatty": Speaker(CHATTY)}


@pytest.fixture
def recipes(models: dict[str, Speaker], add: Any) -> list[Any]:
    recipe = type(add)
    made = [
        recipe(name, model.get_input_spec(), model.get_output_spec(), model.predict, model=model)
        for name, model in models.items()
    ]
    return [*made, add]


@pytest.fixture
async def asked(open_house: Any, connect: Any, recipes: Any) -> AsyncIterator[Any]:
    async with open_house(recipes, default="plain") as house, connect(house.app) as client:

        async def post(**body: Any) -> Any:
            path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
            return await client.post(path, json=body)

        yield post


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def events(body: str) -> list[Any]:
    """The events of a stream, each decoded; the last one may be ``[DONE]``."""
    parts = body.split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    return [part[6:] if part[6:] == "[DONE]" else json.loads(part[6:]) for part in parts]


async def test_a_completion_comes_whole(asked: Any) -> None:
    answer = (await asked(model="plain", prompt="one two three")).json()

    assert answer.pop("id").startswith("cmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "text_completion",
        "model": "plain@1",
        "system_fingerprint": "fp_sha256:0123",
        "choices": [{"text": "one two three ", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    }


async def test_a_conversation_is_answered_whole(asked: Any) -> None:
    answer = (await asked(model="plain", messages=user("one two"))).json()

    assert answer.pop("id").startswith("chatcmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "chat.completion",
        "model": "plain@1",
        "system_fingerprint": "fp_sha256:0123",
        "choices": [
            {
                "message": {"role": "assistant", "content": "one two ", "refusal": None},
                "index": 0,
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
    }


async def test_each_prompt_gets_a_choice(asked: Any) -> None:
    whole = (await asked(model="plain", prompt=["a", "b c"])).json()
    streamed = events((await asked(model="plain", prompt=["a", "b c"], stream=True)).text)

    assert [(one["index"], one["text"]) for one in whole["choices"]] == [(0, "a "), (1, "b c ")]
    assert whole["usage"]["total_tokens"] == 6
    pieces = [(one["choices"][0]["index"], one["choices"][0]["text"]) for one in streamed[:-1]]
    assert pieces == [(0, "a "), (0, ""), (1, "b "), (1, "c "), (1, "")]


async def test_a_streamed_conversation_has_the_exact_shape(asked: Any) -> None:
    answer = await asked(model="plain", messages=user("one two"), stream=True)

    *chunks, done = events(answer.text)
    choices = [chunk.pop("choices") for chunk in chunks]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert done == "[DONE]"
    assert all(chunk == chunks[0] for chunk in chunks)
    assert set(chunks[0]) == {"id", "object", "created", "model", "system_fingerprint"}
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert [choice["delta"] for (choice,) in choices] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "one "},
        {"content": "two "},
        {},
    ]
    assert [choice["finish_reason"] for (choice,) in choices] == [None, None, None, "stop"]
    assert all((choice["index"], choice["logprobs"]) == (0, None) for (choice,) in choices)


async def test_usage_comes_last_for_those_who_ask(asked: Any) -> None:
    answer = await asked(model="plain", messages=user("a b"), stream=True, stream_options={"include_usage": True})

    *chunks, totals, _ = events(answer.text)
    assert [chunk["usage"] for chunk in chunks] == [None] * 4
    assert totals["choices"] == []
    assert totals["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert totals["id"] == chunks[0]["id"]


async def test_a_stop_text_is_never_shown(asked: Any) -> None:
    whole = (await asked(model="plain", prompt="a b c d", stop=["b c", "zzz"])).json()["choices"][0]
    streamed = events((await asked(model="plain", messages=user("a b c d"), stop="b c", stream=True)).text)

    assert (whole["text"], whole["finish_reason"]) == ("a ", "stop")
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in streamed[:-1]) == "a "
    assert streamed[-2]["choices"][0]["finish_reason"] == "stop"


async def test_what_a_pipeline_takes_it_gets_and_the_rest_of_the_habits_are_ignored(asked: Any, models: Any) -> None:
    settings = {"temperature": 0.5, "seed": 7, "top_p": 0.9, "user": "me", "top_k": 3, "n": 1, "logit_bias": None}

    tuned = await asked(model="tuned", prompt="a", max_tokens=9, **settings)
    plain = await asked(model="plain", prompt="a", max_tokens=9, **{**settings, "top_k": None})

    assert tuned.status_code == plain.status_code == 200
    assert models["tuned"].seen == [{"text": "a", "max_tokens": 9, "temperature": 0.5, "seed": 7, "top_k": 3}]
    assert models["plain"].seen == [{"text": "a"}]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_holds_also_for_a_pipeline_that_takes_none(asked: Any, models: Any, name: str) -> None:
    answer = (await asked(model="plain", messages=user("a b c"), **{name: 2})).json()

    assert answer["choices"][0]["message"]["content"] == "a b "
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2
    await asyncio.wait_for(models["plain"].ended.wait(), 10)


async def test_a_pipeline_of_messages_gets_them_as_they_are(asked: Any, models: Any) -> None:
    parts = [{"role": "system", "content": [{"type": "image_url"}]}, *user("a b")]
    tools = [{"type": "function", "function": {"name": "f"}}]

    chat = await asked(model="chatty", messages=parts, tools=tools)
    plain = await asked(model="chatty", prompt="c")

    assert chat.json()["choices"][0]["message"]["content"] == "a b "
    assert plain.json()["choices"][0]["text"] == "c "
    assert models["chatty"].seen == [{"messages": parts, "tools": tools}, {"messages": user("c"), "tools": None}]


@pytest.mark.parametrize(
    ("body", "status", "param", "said"),
    [
        ({"model": "nope", "prompt": "a"}, 404, None, "no pipeline"),
        ({"model": "add", "prompt": "a"}, 400, "model", "does not generate"),
        ({"model": "plain"}, 400, "prompt", "lacks 'prompt'"),
        ({"model": "plain", "prompt": [1, 2]}, 400, "prompt", "takes no tokens"),
        ({"model": "plain", "prompt": "a", "n": 2}, 400, "n", "one choice"),
        ({"model": "plain", "prompt": "a", "best_of": 2}, 400, "best_of", "one choice"),
        ({"model": "plain", "prompt": "a", "logprobs": 0}, 400, "logprobs", "takes no input"),
        ({"model": "plain", "prompt": "a", "echo": True}, 400, "echo", "not served"),
        ({"model": "plain", "prompt": "a", "suffix": "z"}, 400, "suffix", "takes no input"),
        ({"model": "plain", "prompt": "a", "max_tokens": 0}, 400, "max_tokens", "at least 1"),
        ({"model": "plain", "prompt": "a", "max_tokens": "5"}, 400, "max_tokens", "int"),
        ({"model": "plain", "prompt": "a", "stop": ""}, 400, "stop", "at least one character"),
        ({"model": "plain", "prompt": "a", "temprature": 1}, 400, "temprature", "did you mean"),
        ({"model": "plain", "prompt": "a", "stream_options": {}}, 400, "stream_options", "stream: true"),
        ({"model": "plain", "messages": []}, 400, "messages", "is empty"),
        ({"model": "plain", "messages": "hi"}, 400, "messages", "got str"),
        ({"model": "plain", "messages": [{"content": "hi"}]}, 400, "messages", "messages[0] lacks a role"),
        ({"model": "plain", "messages": [{"role": "user", "content": 5}]}, 400, "messages", "messages[0].content"),
        ({"model": "plain", "messages": user("a"), "tools": [{}]}, 400, "tools", "takes no input"),
        ({"model": "plain", "messages": user("a"), "response_format": {"type": "x"}}, 400, "response_format", "input"),
        ({"model": "tuned", "prompt": "a", "temperature": "hot"}, 422, None, "wants float32"),
        ({"model": "plain", "prompt": "fail"}, 422, None, "not said"),
        ({"model": "plain", "prompt": "crash"}, 500, None, "[path]"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_answered_is_refused_with_its_status(
    asked: Any, body: dict[str, Any], status: int, param: str | None, said: str, stream: bool
) -> None:
    stream = stream and "stream_options" not in body
    answer = await asked(**body, stream=stream)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert said in error["message"]


@pytest.mark.parametrize(("word", "code"), [("fail", "invalid_input"), ("crash", "model_failure")])
async def test_a_late_failure_is_the_last_event(asked: Any, word: str, code: str) -> None:
    answer = await asked(model="plain", prompt=f"a b {word} c", stream=True)

    *chunks, last = events(answer.text)
    assert answer.status_code == 200
    assert [one["choices"][0]["text"] for one in chunks] == ["a ", "b "]
    assert set(last) == {"error"}
    assert last["error"]["code"] == code
    assert "secret" not in last["error"]["message"]


def request(body: dict[str, Any], path: str = "completions") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: t\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_generation(
    run_server: Any, recipes: Any, models: Any, eventually: Any, stream: bool
) -> None:
    async with run_server(recipes=recipes) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request({"model": "plain", "prompt": "a wait b", "stream": stream}))
        await writer.drain()
        await asyncio.wait_for(models["plain"].waiting.wait(), 10)
        if stream:
            await asyncio.wait_for(reader.readuntil(b"a "), 10)
        writer.transport.abort()
        await asyncio.wait_for(models["plain"].ended.wait(), 10)
        await eventually(lambda: server.house.app.in_flight == 0)
        counted = [code for _, _, _, code in server.house.inference.measures.requests]

    assert counted == ["cancelled"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [{}, {"stop": "b"}, {"max_tokens": 2}, {"max_tokens": 3}])
async def test_an_answer_that_ends_where_its_caller_said_is_counted_as_good(
    open_house: Any, connect: Any, recipes: Any, stream: bool, limit: dict[str, Any]
) -> None:
    async with open_house(recipes) as house, connect(house.app) as client:
        await client.post("/v1/completions", json={"model": "plain", "prompt": "a b c", "stream": stream, **limit})
        counted = [code for _, _, _, code in house.inference.measures.requests]

    assert counted == ["ok"]


async def test_events_arrive_before_the_answer_is_complete(run_server: Any, recipes: Any) -> None:
    async with run_server(recipes=recipes) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request({"model": "plain", "prompt": "a b wait", "stream": True}))
        seen = await asyncio.wait_for(reader.readuntil(b'"b "'), 10)
        writer.transport.abort()

    assert b"text/event-stream" in seen
    assert b"[DONE]" not in seen


async def test_a_server_that_cannot_wait_says_so_in_the_stream(run_server: Any, recipes: Any) -> None:
    async with run_server(ApiSettings(port=0, drain_s=0.05), recipes=recipes) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request({"model": "plain", "prompt": "a wait", "stream": True}))
        await asyncio.wait_for(reader.readuntil(b"a "), 10)
        server.stop.set()
        rest = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()

    assert b'"code":"not_ready"' in rest


async def test_a_client_that_stops_reading_is_given_up() -> None:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    call = Call({"method": "POST", "path": "/v1/completions"}, send, send, {})  # type: ignore[arg-type]
    with pytest.raises(ClientLeft):
        await EventStream(call, stall_s=0.01).send({})


@pytest.mark.parametrize("path", ["/v1/completions", "/v2/models/plain/generate_stream"])
async def test_a_client_that_stops_reading_holds_no_place_beyond_its_deadline(
    open_house: Any, recipes: Any, models: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(event_stream, "LATE_S", 0.01)
    body = {"model": "plain", "prompt": "a b", "stream": True} if "v1" in path else {"text_input": "a b"}
    given: list[Any] = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        return given.pop() if given else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    headers = [(b"host", b"t"), (b"content-type", b"application/json"), (b"x-timeout-ms", b"200")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    async with open_house(recipes) as house:
        async with asyncio.timeout(10):
            await house.app(scope, receive, send)
            await models["plain"].ended.wait()

        assert [code for _, _, _, code in house.inference.measures.requests] == ["cancelled"]


async def test_an_answer_is_not_gone_on_with_by_what_took_the_place_of_its_pipeline(
    open_house: Any, connect: Any, recipes: Any, models: Any
) -> None:
    async with open_house(recipes) as house, connect(house.app) as client:
        old, new = models["plain"], Speaker(PLAIN)
        body = {"model": "plain", "prompt": ["wait", "b"]}
        answering = asyncio.create_task(client.post("/v1/completions", json=body))
        await asyncio.wait_for(old.waiting.wait(), 10)
        house.workspace.recipes = {
            ref: replace(recipe, model=new) if recipe.model is old else recipe
            for ref, recipe in house.workspace.recipes.items()
        }
        await house.deployments.reload("plain")
        old.go_on.set()
        answer = await asyncio.wait_for(answering, 10)

    assert (answer.status_code, len(old.seen), new.seen) == (503, 1, [])
    assert "was replaced while this request was under way; ask again" in answer.text
