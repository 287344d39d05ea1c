"""`Idempotency-Key`: the same request twice is answered once, and everything else is told apart."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from tests.adapters.http.test_open_inference_generate import Speaker

from headrace.adapters.http import idempotency as door
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.tensors import TensorSpec
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers
from headrace.infra.databases.url import StateUrl
from headrace.services.idempotency import Idempotency

PATH = "/api/v1/models/count/predict"
ONE = {"inputs": {"x": 1.0}}
KEY = {"Idempotency-Key": "order-7"}


class Counter:
    """A model that says how often it was called; -1 makes it fail as long as it is told to."""

    def __init__(self, recipe: Any) -> None:
        self.calls = 0
        self.fails = True
        number = {"x": TensorSpec("float32")}
        self.recipe = replace(
            recipe, name="count", takes=number, gives={"n": TensorSpec("int64")}, predict=self.predict, examples=()
        )

    def predict(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        x = inputs["x"]
        if not x.any():  # the warm-up
            return {"n": np.zeros(len(x), np.int64)}
        if self.fails and (x < 0).any():
            raise ValueError("not now")
        self.calls += 1
        return {"n": np.full(len(x), self.calls)}


@pytest.fixture
def counter(add: Any) -> Counter:
    return Counter(add)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    found = State(StateUrl("sqlite:///data/state.db"), tmp_path)
    yield found
    await found.close()


@pytest.fixture
def idempotency(state: State) -> Idempotency:
    return Idempotency(StateAnswers(state), 3600.0)


@pytest.fixture
async def client(
    counter: Counter, idempotency: Idempotency, blocker: Any, open_house: Any, connect: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    async with AsyncExitStack() as stack:
        recipes = (counter.recipe, blocker.recipe)
        house = await stack.enter_async_context(open_house(recipes, idempotency=idempotency, default="count"))
        yield await stack.enter_async_context(connect(house.app))


Client = httpx2.AsyncClient


def number(answer: httpx2.Response) -> int:
    found: int = answer.json()["data"]["outputs"]["n"]
    return found


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_request_that_comes_again_gets_the_first_answer(client: Client, counter: Counter) -> None:
    first = await client.post(PATH, json=ONE, headers=KEY)
    second = await client.post(PATH, json=ONE, headers=KEY | {"X-Request-ID": "mine"})

    assert (first.status_code, second.status_code, counter.calls) == (200, 200, 1)
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] == "mine"


async def test_without_a_key_every_request_is_computed(client: Client, counter: Counter, tmp_path: Path) -> None:
    assert [number(await client.post(PATH, json=ONE)) for _ in range(3)] == [1, 2, 3]
    assert not (tmp_path / "data").exists()


async def test_a_key_with_another_body_is_a_conflict(client: Client, counter: Counter) -> None:
    await client.post(PATH, json=ONE, headers=KEY)

    other_body = await client.post(PATH, json={"inputs": {"x": 2.0}}, headers=KEY)
    other_query = await client.post(f"{PATH}?explain=1", json=ONE, headers=KEY)

    assert (code(other_body), code(other_query)) == ((409, "conflict"), (409, "conflict"))
    assert counter.calls == 1


async def test_keys_of_other_paths_and_callers_are_other_keys(client: Client) -> None:
    named = {"pipeline": "count", **ONE}

    answers = [
        await client.post(PATH, json=ONE, headers=KEY),
        await client.post("/api/v1/inference", json=named, headers=KEY),
        await client.post(PATH, json=ONE, headers=KEY | {"X-API-Key": "bob"}),
        await client.post(PATH, json=ONE, headers=KEY | {"X-API-Key": "ann"}),
        await client.post(PATH, json=ONE, headers=KEY | {"Authorization": "Bearer ann"}),
    ]

    assert [number(answer) for answer in answers] == [1, 2, 3, 4, 4]


async def test_who_comes_second_waits_for_the_first_answer(client: Client, blocker: Any, eventually: Any) -> None:
    path, body = "/api/v1/models/slow/predict", {"inputs": {"x": [1.0, 2.0]}}
    first = asyncio.create_task(client.post(path, json=body, headers=KEY))
    await eventually(blocker.entered.is_set)
    others = [asyncio.create_task(client.post(path, json=body, headers=KEY)) for _ in range(3)]
    await asyncio.sleep(0.1)

    blocker.let_go.set()
    answers = await asyncio.gather(first, *others)

    assert {answer.status_code for answer in answers} == {200}
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true", "true"]
    assert blocker.calls == 1


async def test_who_waits_no_longer_is_told_so_and_disturbs_no_one(
    client: Client, blocker: Any, eventually: Any
) -> None:
    path, body = "/api/v1/models/slow/predict", {"inputs": {"x": [1.0, 2.0]}}
    first = asyncio.create_task(client.post(path, json=body, headers=KEY))
    await eventually(blocker.entered.is_set)

    late = await client.post(path, json=body, headers=KEY | {"X-Timeout-Ms": "60"})
    blocker.let_go.set()

    assert code(late) == (504, "deadline_exceeded")
    assert (await first).status_code == 200


async def test_a_failure_is_not_kept(client: Client, counter: Counter) -> None:
    body = {"inputs": {"x": -1.0}}

    failed = await client.post(PATH, json=body, headers=KEY)
    counter.fails = False
    mended = await client.post(PATH, json=body, headers=KEY)
    again = await client.post(PATH, json=body, headers=KEY)

    assert code(failed) == (500, "model_failure")
    assert [number(mended), number(again), counter.calls] == [1, 1, 1]


async def test_a_request_that_was_refused_does_not_spend_its_key(client: Client) -> None:
    refused = await client.post(PATH, json={"inputs": 7}, headers=KEY)
    mended = await client.post(PATH, json=ONE, headers=KEY)

    assert (refused.status_code, mended.status_code) == (400, 200)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"caf\xe9", b"tab\there"], ids=["none", "long", "letters", "control"])
async def test_a_key_that_is_none_is_refused(client: Client, counter: Counter, key: bytes) -> None:
    answer = await client.post(PATH, json=ONE, headers=[(b"idempotency-key", key)])

    assert code(answer) == (400, "invalid_request")
    assert "1 to 255 printable ASCII characters" in answer.json()["error"]["message"]
    assert counter.calls == 0


async def test_rows_that_failed_among_others_are_kept_as_they_are(client: Client, counter: Counter) -> None:
    body = {"inputs": [{"x": 1.0}, {"x": "no number"}]}

    first = await client.post(PATH, json=body, headers=KEY)
    second = await client.post(PATH, json=body, headers=KEY)

    assert first.status_code == 200
    assert second.content == first.content


async def test_a_v2_answer_comes_back_with_the_headers_that_its_form_needs(client: Client) -> None:
    wanted = {"outputs": [{"name": "n", "parameters": {"binary_data": True}}]}
    inputs = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}

    first, second = [
        await client.post("/v2/models/count/infer", json={**inputs, **wanted}, headers=KEY) for _ in range(2)
    ]

    assert first.headers["inference-header-content-length"] == second.headers["inference-header-content-length"]
    assert first.content == second.content


async def test_a_kept_answer_is_packed_for_whoever_unpacks_it(client: Client) -> None:
    body = {"inputs": [{"x": 1.0}] * 500}

    plain = await client.post(PATH, json=body, headers=KEY | {"Accept-Encoding": "identity"})
    packed = await client.post(PATH, json=body, headers=KEY | {"Accept-Encoding": "gzip"})
    sent = gzip.compress(json.dumps(body).encode())
    other_form = await client.post(
        PATH, content=sent, headers=KEY | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )

    assert ("content-encoding" in plain.headers, packed.headers["content-encoding"]) == (False, "gzip")
    assert packed.content == plain.content
    assert code(other_form) == (409, "conflict")


async def test_a_packed_body_is_unpacked_by_whoever_answers(client: Client) -> None:
    sent = gzip.compress(json.dumps(ONE).encode())
    headers = KEY | {"Content-Encoding": "gzip", "Content-Type": "application/json"}

    answers = [await client.post(PATH, content=sent, headers=headers) for _ in range(2)]

    assert [number(answer) for answer in answers] == [1, 1]


async def test_an_upload_that_comes_again_may_be_divided_otherwise(
    idempotency: Idempotency, open_house: Any, connect: Any
) -> None:
    def form(boundary: str, file: str) -> tuple[bytes, dict[str, str]]:
        part = f'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n{file}'
        content = f"--{boundary}\r\n{part}\r\n--{boundary}--\r\n".encode()
        return content, KEY | {"Content-Type": f"multipart/form-data; boundary={boundary}"}

    async with open_house(idempotency=idempotency, default="measure") as found, connect(found.app) as client:
        answers = []
        for content, headers in (form("one", "PIXELS"), form("another", "PIXELS"), form("third", "OTHERS")):
            answers.append(await client.post("/api/v1/predict/image", content=content, headers=headers))

    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert answers[0].content == answers[1].content


async def test_an_answer_that_is_too_large_is_given_once(
    client: Client, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LARGEST_KEPT", 10)

    first = await client.post(PATH, json=ONE, headers=KEY)
    second = await client.post(PATH, json=ONE, headers=KEY)

    assert number(first) == 1
    assert code(second) == (409, "conflict")
    assert counter.calls == 1


async def test_a_streamed_answer_is_given_once(
    idempotency: Idempotency, add: Any, open_house: Any, connect: Any
) -> None:
    speaker = Speaker()
    takes, gives = speaker.get_input_spec(), speaker.get_output_spec()
    recipe = replace(add, name="speaker", takes=takes, gives=gives, model=speaker)
    path, body = "/v2/models/speaker/generate_stream", {"text_input": "one two"}
    async with open_house([recipe], idempotency=idempotency) as house, connect(house.app) as client:
        first, second = [await client.post(path, json=body, headers=KEY) for _ in range(2)]

    assert first.headers["content-type"].startswith("text/event-stream")
    assert first.text.count("data:") == 2
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    assert len(speaker.seen) == 1


async def test_a_key_at_a_path_that_only_reads_means_nothing(client: Client) -> None:
    assert [(await client.get("/v2/models/count", headers=KEY)).status_code for _ in range(2)] == [200, 200]


async def test_a_change_of_what_is_loaded_is_made_once(client: Client, counter: Counter) -> None:
    first = await client.post("/api/v1/models/count/unload", headers=KEY)
    await client.post("/api/v1/models/count/load")
    second = await client.post("/api/v1/models/count/unload", headers=KEY)
    other = await client.post("/api/v1/models/count/unload", json={"version": "1"}, headers=KEY)

    assert first.json()["data"] == {"unloaded": [{"name": "count", "version": "1"}]}
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == "application/json"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert code(other) == (409, "conflict")
    assert (await client.post(PATH, json=ONE)).status_code == 200


async def test_a_change_that_fails_leaves_its_key_free(client: Client) -> None:
    answers = [await client.post("/api/v1/models/none/unload", headers=KEY) for _ in range(2)]
    nowhere = [await client.post("/api/v1/nowhere", headers=KEY) for _ in range(2)]

    assert [code(answer) for answer in [*answers, *nowhere]] == [(404, "not_found")] * 4
    assert not any("idempotent-replayed" in answer.headers for answer in [*answers, *nowhere])


async def test_a_body_that_is_too_large_for_a_change_is_refused_with_a_key_too(
    counter: Counter, idempotency: Idempotency, open_house: Any, connect: Any
) -> None:
    house = open_house((counter.recipe,), idempotency=idempotency, settings=ApiSettings(max_body_mb=1))
    async with house as opened, connect(opened.app) as client:
        refused = await client.post("/api/v1/models/count/reload", content=b" " * 2**21, headers=KEY)

    assert code(refused) == (413, "too_large")


async def test_a_load_goes_on_without_the_client_that_asked_for_it(
    run_server: Callable[..., Any], blocker: Any, idempotency: Idempotency, eventually: Callable[..., Awaitable[None]]
) -> None:
    head = b"POST /api/v1/models/slow/unload HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n"
    async with run_server(ApiSettings(port=0), recipes=(blocker.recipe,), idempotency=idempotency) as server:
        held = asyncio.Event()

        async def hold(*_: object) -> None:
            await held.wait()

        server.house.deployments.announce = hold
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + b"\r\n")
        await eventually(lambda: server.house.deployments.find("slow")[0].state == "unloaded")
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.1)  # longer than it takes to notice that a client has left
        held.set()
        await eventually(lambda: server.house.app.in_flight == 0)

        answer = await server.exchange(head + b"Connection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"idempotent-replayed: true" in answer.lower()


async def test_a_client_that_leaves_frees_its_key(
    run_server: Callable[..., Any], blocker: Any, idempotency: Idempotency, eventually: Callable[..., Awaitable[None]]
) -> None:
    body = json.dumps({"inputs": {"x": [1.0, 2.0]}}).encode()
    head = (
        b"POST /api/v1/models/slow/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Idempotency-Key: k\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    async with run_server(ApiSettings(port=0), recipes=(blocker.recipe,), idempotency=idempotency) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + body)
        await eventually(blocker.entered.is_set)
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: server.house.app.in_flight == 0)
        blocker.let_go.set()

        answer = await server.exchange(head + body)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"idempotent-replayed" not in answer
    assert blocker.calls == 2


async def test_a_keyed_request_is_refused_while_nothing_can_be_remembered_and_others_are_answered(
    counter: Counter, open_house: Any, connect: Any, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file where a folder belongs")
    state = State(StateUrl("sqlite:///data/state.db"), tmp_path)
    keeps = Idempotency(StateAnswers(state), 3600.0)
    async with open_house((counter.recipe,), idempotency=keeps) as house, connect(house.app) as client:
        refused = await client.post(PATH, json=ONE, headers=KEY)
        at_once = await client.post(PATH, json=ONE, headers=KEY)
        plain = await client.post(PATH, json=ONE)
    await state.close()

    assert code(refused) == (502, "dependency_failure")
    assert "state database cannot be opened" in refused.json()["error"]["message"]
    assert code(at_once) == (503, "dependency_failure")
    assert int(at_once.headers["retry-after"]) >= 1
    assert number(plain) == 1


async def test_an_explained_answer_comes_back_with_its_explanation(client: Client) -> None:
    first, second = [await client.post(f"{PATH}?explain=1", json=ONE, headers=KEY) for _ in range(2)]

    assert "explain" in first.json()["data"]
    assert second.content == first.content
