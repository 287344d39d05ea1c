"""A request that came before is answered as if it had not: the same words, the same lookups, the same refusals."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import headrace
from headrace.adapters.http.app import create_app
from headrace.adapters.http.open_inference_repeats import MOST_BYTES, Repeat, Repeats
from headrace.assembly import Application
from headrace.domain.routing import Asked
from headrace.services.context import Inputs, Result, Timing

COLUMNS = "input_spec: [{name: x, shape: [-1, 2], dtype: float32}]\noutput_spec: [{name: x, shape: [-1, 2]}]\n"
WORDS = "input_spec: [{name: x, shape: [-1], dtype: string}]\noutput_spec: [{name: x, shape: [-1], dtype: string}]\n"
PATH = "/v2/models/kept/infer"
BODY: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


class Door:
    """A client of a workspace in this process."""

    def __init__(self, app: Application, client: httpx2.AsyncClient, repeats: Repeats) -> None:
        self.app, self.client, self.repeats = app, client, repeats

    async def ask(self, body: Any = BODY, path: str = PATH, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(path, content=content, headers={"content-type": "application/json", **headers})

    @property
    def hits(self) -> int:
        return sum(lookups.hit for lookups in self.app.inference.measures.cache.values())


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    for part in ("models", "pipelines", "routes"):
        (tmp_path / "config" / part).mkdir(parents=True)
    (tmp_path / "config/main.yaml").write_text("")
    for name, columns in (("numbers", COLUMNS), ("words", WORDS)):
        (tmp_path / f"config/models/{name}.yaml").write_text(f"type: echo\n{columns}")
    for name, model in (("kept", "numbers"), ("other", "numbers"), ("texts", "words")):
        (tmp_path / f"config/pipelines/{name}.yaml").write_text(f"{{model: {model}, cache: {{}}}}")
    (tmp_path / "config/pipelines/plain.yaml").write_text("{model: numbers}")
    async with headrace.load(tmp_path) as app:
        http = create_app(app.inference, app.deployments, app.settings.api)
        transport = httpx2.ASGITransport(app=http)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield Door(app, client, http._routes._v2._repeats)
        http.close()


async def test_it_says_the_same_and_is_looked_up_like_any_other(door: Door) -> None:
    answers = [await door.ask() for _ in range(5)]

    told = [answer.json() for answer in answers]
    assert [one["parameters"]["cached"] for one in told] == [False, True, True, True, True]
    assert all({**one, "parameters": {}} == {**told[0], "parameters": {}} for one in told)
    assert len({answer.headers["x-request-id"] for answer in answers}) == 5
    assert (door.hits, len(door.repeats)) == (4, 1)


async def test_another_byte_name_or_version_is_another_request(door: Door) -> None:
    asked = [
        (BODY, PATH),
        ({**BODY, "id": "7"}, PATH),
        (BODY, "/v2/models/kept/versions/1/infer"),
        (BODY, "/v2/models/other/infer"),
    ]
    for _ in range(3):
        told = [(await door.ask(body, path)).json() for body, path in asked]

    assert [(one["model_name"], one.get("id")) for one in told] == [
        ("kept", None), ("kept", "7"), ("kept", None), ("other", None)
    ]  # fmt: skip
    assert len(door.repeats) == 4


async def test_what_steers_one_request_alone_is_never_remembered(door: Door) -> None:
    for _ in range(3):
        explained = await door.ask(path=f"{PATH}?explain=1")
        fresh = await door.ask(**{"cache-control": "no-cache"})
        hurried = await door.ask({**BODY, "parameters": {"priority": 1}})
    await door.ask()
    answers = [(await door.ask()).json() for _ in range(2)]
    explained = await door.ask(path=f"{PATH}?explain=1")
    fresh = await door.ask(**{"cache-control": "no-cache"})

    assert "explain" in explained.json()["parameters"]
    assert fresh.json()["parameters"] == {"cached": False}
    assert hurried.status_code == 200
    assert [one["parameters"] for one in answers] == [{"cached": True}] * 2


async def test_bad_requests_stay_bad_however_often_they_come(door: Door) -> None:
    bad = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, "a"]}]}
    body = json.dumps(BODY).encode()
    for _ in range(3):
        await door.ask()
        assert (await door.ask(bad)).status_code == 422
        assert (await door.ask({**BODY, "model_name": "other"})).status_code == 400
        # The same bytes, half of them said to be tensors.
        assert (await door.ask(body, **{"inference-header-content-length": str(len(body) - 4)})).status_code == 400


async def test_several_rows_texts_and_pipelines_without_a_cache_are_read_each_time(door: Door) -> None:
    two = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    word = {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    for _ in range(3):
        told = [
            (await door.ask(two)).json(),
            (await door.ask(word, "/v2/models/texts/infer")).json(),
            (await door.ask(path="/v2/models/plain/infer")).json(),
        ]

    assert [one["outputs"][0]["data"] for one in told] == [[1, 2, 3, 4], ["a"], [1, 2]]
    assert "parameters" not in told[2]
    assert len(door.repeats) == 0


async def test_an_answer_that_left_the_cache_is_computed_again(door: Door) -> None:
    for _ in range(3):
        await door.ask()
    assert door.app.inference.answers is not None
    await door.app.inference.answers.close()  # forgets everything

    told = [(await door.ask()).json()["parameters"]["cached"] for _ in range(3)]

    assert told == [False, True, True]


async def test_what_was_read_for_a_pipeline_is_not_used_for_the_one_in_its_place(door: Door, tmp_path: Path) -> None:
    for _ in range(3):
        await door.ask()
    doubled = (
        "input_spec: [{name: x, shape: [-1, 1, 2], dtype: float32}]\noutput_spec: [{name: x, shape: [-1, 1, 2]}]\n"
    )
    (tmp_path / "config/models/numbers.yaml").write_text(f"type: echo\n{doubled}")
    body = {"inputs": [{**BODY["inputs"][0], "shape": [1, 1, 2]}]}

    reloaded = await door.client.post("/api/v1/models/kept/reload")
    refused = [await door.ask() for _ in range(2)]
    answered = [await door.ask(body) for _ in range(3)]

    assert reloaded.status_code == 200
    assert [one.status_code for one in refused] == [422, 422]
    assert [one.json()["parameters"]["cached"] for one in answered] == [False, True, True]


async def test_what_is_remembered_stays_within_its_bytes(door: Door) -> None:
    pipeline = door.app.inference.choose(Asked("kept")).pipeline
    repeats = Repeats()
    for number in range(20_000):
        body = str(number).encode() * 200
        repeat = Repeat(pipeline, Inputs({"x": [[1.0, 2.0]]}, 1), [], None)
        columns: Any = {"x": [[1.0, 2.0]]}
        kept = Result(pipeline.ref, columns, range(1), Timing(), cached=True)
        repeats.remember(pipeline, ("kept", None, body), repeat, kept, bytes(200))

    assert 100 < len(repeats) < MOST_BYTES / 4000
    assert repeats._used_bytes <= MOST_BYTES
    assert repeats.find(pipeline, ("kept", None, b"0" * 200)) is None
    assert repeats.find(pipeline, ("kept", None, b"19999" * 200)) is not None
