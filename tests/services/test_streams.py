"""Micro-batches: every event ends as a result or a dead letter, in order, and is committed only then."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest

from headrace.domain.errors import DependencyFailure
from headrace.domain.fit import compose
from headrace.domain.model import ModelAdapter
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Message
from headrace.domain.routing import Router
from headrace.domain.spec import PipelineSpec, RouteSpec, StreamSpec, Window
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.brokers.memory import MemoryBroker
from headrace.services.engine import Engine
from headrace.services.inference import Inference
from headrace.services.streams import Streams


class Doubling(ModelAdapter):
    """Doubles x; refuses 13 and, as long as it is told to, everything."""

    def __init__(self) -> None:
        self.calls = 0
        self.away = False

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Nothing to load."""

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        self.calls += 1
        if self.away:
            raise DependencyFailure("away")
        x = np.asarray(inputs["x"])
        if (x == 13).any():
            raise ValueError("thirteen")
        return {"y": x * 2}

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        return {"x": TensorSpec("float32", (-1,), "x")}

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        return {"y": TensorSpec("float32", (-1,), "y")}


class House:
    """An engine, a broker, and one running stream over them."""

    def __init__(self, model: Doubling) -> None:
        self.model = model
        self.broker = MemoryBroker()
        self.engine = Engine()
        self.inference = Inference(self.engine, Router(self.engine.registry))
        self.streams = Streams(self.broker, self.inference)

    async def start(self, **window: Any) -> None:
        plan = compose([], self.model.get_input_spec(), self.model.get_output_spec(), [])
        await self.engine.add(Pipeline(PipelineSpec("double", "d"), plan, self.model, model_name="d"))
        self.streams.start([StreamSpec("s", "double", window=Window(**window))])

    async def read(self, topic: str, count: int) -> list[Any]:
        events: list[Any] = []
        while len(events) < count:
            events += await self.broker.read(topic, "test", count - len(events), 0)
        return [json.loads(event.message.value) for event in events]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(Doubling())
    yield house
    await house.streams.stop()
    await house.engine.close()


async def test_events_become_results_in_order(house: House) -> None:
    await house.start(max_events=4, max_ms=1)

    await house.streams.get("s").publish([{"x": n} for n in range(10)])

    results = await house.read("s.results", 10)
    assert [result["outputs"]["y"] for result in results] == [2 * n for n in range(10)]
    assert {(result["pipeline"], result["version"]) for result in results} == {("double", "1")}


async def test_a_window_is_one_model_call(house: House) -> None:
    await house.start(max_events=8, max_ms=60_000)

    await house.streams.get("s").publish([{"x": n} for n in range(8)])

    await house.read("s.results", 8)
    assert house.model.calls == 1


async def test_each_window_is_put_to_chance_where_a_route_splits(house: House) -> None:
    await house.start(max_events=1, max_ms=1)
    model = Doubling()
    plan = compose([], model.get_input_spec(), model.get_output_spec(), [])
    await house.engine.add(Pipeline(PipelineSpec("double", "d", version="2"), plan, model, model_name="d"))
    points = itertools.cycle((0.2, 0.7))
    house.inference.router = Router(
        house.engine.registry, [RouteSpec("double", split={"1": 1, "2": 1})], chance=lambda: next(points)
    )
    house.inference.forget_choices()

    await house.streams.get("s").publish([{"x": n} for n in range(4)])

    assert [result["version"] for result in await house.read("s.results", 4)] == ["1", "2"] * 2


async def test_a_window_ends_after_its_time_though_it_is_not_full(house: House) -> None:
    await house.start(max_events=1000, max_ms=5)

    await house.streams.get("s").publish([{"x": 1}])

    assert len(await house.read("s.results", 1)) == 1


async def test_bad_events_become_dead_letters_with_their_code_and_value(house: House) -> None:
    await house.start(max_events=8, max_ms=1)
    await house.broker.write("s", [Message(b'{"x": 1}'), Message(b"{nonsense"), Message(b'{"z": 1}')])

    await house.streams.get("s").publish([{"x": "word"}, {"x": 13}, {"x": 2}])

    dead = await house.read("s.dead", 4)
    assert [letter["error"]["code"] for letter in dead] == [
        "invalid_request",
        "invalid_input",
        "invalid_input",
        "model_failure",
    ]
    assert dead[0]["value"] == "{nonsense"
    assert [result["outputs"]["y"] for result in await house.read("s.results", 2)] == [2, 4]


async def test_nothing_is_committed_while_a_dependency_is_away(house: House) -> None:
    house.model.away = True
    await house.start(max_events=8, max_ms=1)
    stream = house.streams.get("s")
    await stream.publish([{"x": 1}, {"x": 2}])
    while stream.state != "failed":
        await asyncio.sleep(0)
    lag = house.broker.lag("s", "headrace.s")

    house.model.away = False

    assert lag == 2
    assert [result["outputs"]["y"] for result in await house.read("s.results", 2)] == [2, 4]
    while house.broker.lag("s", "headrace.s"):
        await asyncio.sleep(0)
    assert stream.state == "running"


async def test_a_paused_stream_goes_on_where_it_stopped(house: House) -> None:
    await house.start(max_events=8, max_ms=1)
    stream = house.streams.get("s")
    stream.pause()
    await stream.publish([{"x": 1}])

    stream.resume()

    assert len(await house.read("s.results", 1)) == 1


async def test_results_can_be_followed_with_their_headers(house: House) -> None:
    await house.start(max_events=8, max_ms=1)
    stream = house.streams.get("s")
    following = stream.results()

    await stream.publish([{"x": 4}], {"reply-to": "me"})

    message = await anext(following)
    assert json.loads(message.value)["outputs"] == {"y": 8}
    assert message.headers == {"reply-to": "me"}
    await following.aclose()
