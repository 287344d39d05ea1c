"""The smallest pipelines that show the point, behind the door: in process, or on a real port."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from headrace.adapters.http.app import HttpDoor, create_app
from headrace.adapters.http.serve import serve
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.errors import InvalidConfig
from headrace.domain.fit import compose
from headrace.domain.model import ModelAdapter
from headrace.domain.model_call import row_specs
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Router
from headrace.domain.spec import ModelSpec, PipelineSpec, RouteSpec
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.deployments import Deployments
from headrace.services.engine import Engine
from headrace.services.inference import Inference

Predict = Callable[[Mapping[str, Any]], Mapping[str, Column]]
Specs = Mapping[str, TensorSpec]


class FunctionModel(ModelAdapter):
    """A function of columns as a model."""

    def __init__(self, takes: Specs, gives: Specs, predict: Predict) -> None:
        self._takes, self._gives, self._predict = takes, gives, predict

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        pass

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        return self._predict(inputs)

    def get_input_spec(self) -> Specs:
        return self._takes

    def get_output_spec(self) -> Specs:
        return self._gives

    def describe(self) -> Mapping[str, Any]:
        return {"platform": "test_function"}


@dataclass(frozen=True)
class Recipe:
    """What a pipeline is made of."""

    name: str
    takes: Specs
    gives: Specs
    predict: Predict
    version: str = "1"
    batched: bool = True
    examples: tuple[Mapping[str, Any], ...] = ()
    required: bool = True
    model: ModelAdapter | None = None

    @property
    def spec(self) -> PipelineSpec:
        return PipelineSpec(
            self.name,
            ModelSpec(f"{self.name}-model", type="python", path="secret:path"),
            self.version,
            description=f"what {self.name} does",
            examples=self.examples,
            required=self.required,
            **({} if self.batched else {"batching": False}),  # type: ignore[arg-type]
        )


class MemoryWorkspace:
    """A workspace without files."""

    root = Path()

    def __init__(self, recipes: Sequence[Recipe], routes: Sequence[RouteSpec], default: str | None) -> None:
        self.recipes = {PipelineRef(recipe.name, recipe.version): recipe for recipe in recipes}
        self.routes, self.default = tuple(routes), default
        self.broken: str | None = None

    def read(self) -> Declared:
        specs = {ref: recipe.spec for ref, recipe in self.recipes.items()}
        return Declared(specs, routes=self.routes, default=self.default)

    def build(self, spec: PipelineSpec) -> Pipeline:
        if self.broken is not None:
            raise InvalidConfig(self.broken)
        recipe = self.recipes[PipelineRef(spec.name, spec.version)]
        model = recipe.model or FunctionModel(recipe.takes, recipe.gives, recipe.predict)
        given, returned = (row_specs(specs, batched=recipe.batched) for specs in (recipe.takes, recipe.gives))
        plan = compose((), given, returned, ())
        return Pipeline(spec, plan, model, model_name=f"{spec.name}-model", digest="sha256:0123")

    def examples(self, spec: PipelineSpec) -> Sequence[Mapping[str, Any]]:
        return spec.examples

    def fingerprint(self) -> Hashable:
        return 0


def doubled(inputs: Mapping[str, Any]) -> Mapping[str, Column]:
    """Twice x. It refuses 13 with a message that tells too much, as models do."""
    if (inputs["x"] == 13).any():
        raise ValueError("unlucky; see /srv/secret/place/model.bin")
    return {"y": inputs["x"] * 2}


def measured(inputs: Mapping[str, Any]) -> Mapping[str, Column]:
    files = inputs["image"]
    for file in files:
        if file == b"broken":
            raise ValueError("truncated")
    return {
        "size": np.array([len(file) for file in files]),
        "copy": list(files),
        "prediction": [{"class_name": "dog", "confidence": np.float32(0.5)} for _ in files],
    }


PAIR = TensorSpec("float32", (-1, 2))
DOUBLE = Recipe("double", {"x": PAIR}, {"y": PAIR}, doubled, examples=({"x": [1.0, 2.0]},))
SHOUT = Recipe(
    "shout",
    {"text": TensorSpec("string")},
    {"loud": TensorSpec("string")},
    lambda inputs: {"loud": [text.upper() for text in inputs["text"]]},
)
MEASURE = Recipe(
    "measure",
    {"image": TensorSpec("bytes")},
    {"size": TensorSpec("int64"), "copy": TensorSpec("bytes"), "prediction": TensorSpec("any")},
    measured,
)
TRANSPOSE = Recipe(
    "transpose",
    {"m": TensorSpec("float32", (-1, -1))},
    {"t": TensorSpec("float32", (-1, -1))},
    lambda inputs: {"t": np.asarray(inputs["m"]).T},
    batched=False,
)
TWO_ONE = Recipe("two", {"x": PAIR}, {"y": PAIR}, lambda inputs: {"y": inputs["x"] * 1})
TWO_TWO = Recipe("two", {"x": PAIR}, {"y": PAIR}, lambda inputs: {"y": inputs["x"] * 2}, version="2")
ROUTED_ONE = Recipe("routed", {"x": PAIR}, {"y": PAIR}, lambda inputs: {"y": inputs["x"] * 1})
ROUTED_TWO = Recipe("routed", {"x": PAIR}, {"y": PAIR}, lambda inputs: {"y": inputs["x"] * 2}, version="2")
ROUTE = RouteSpec("routed", default="1", aliases={"canary": "2"})
RECIPES = (DOUBLE, SHOUT, MEASURE, TRANSPOSE, TWO_ONE, TWO_TWO, ROUTED_ONE, ROUTED_TWO)


NUMBER = TensorSpec("float32")
ADD = Recipe(
    "add",
    {"a": NUMBER, "b": TensorSpec("float32", (-1,), "b", 10.0, True)},
    {"sum": NUMBER},
    lambda inputs: {"sum": inputs["a"] + inputs["b"]},
)


class Blocker:
    """A model that waits until it is let go, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.recipe = Recipe("slow", {"x": PAIR}, {"y": PAIR}, self._predict, examples=())

    def _predict(self, inputs: Mapping[str, Any]) -> Mapping[str, Column]:
        if not inputs["x"].any():  # the warm-up's zeros: too slow to be run on the loop
            time.sleep(0.003)
            return {"y": inputs["x"]}
        self.calls += 1
        self.entered.set()
        assert self.let_go.wait(10)
        return {"y": inputs["x"] * 2}


@dataclass
class House:
    """Everything behind the door, and the door."""

    app: HttpDoor
    inference: Inference
    deployments: Deployments
    workspace: MemoryWorkspace


@asynccontextmanager
async def opened(
    recipes: Sequence[Recipe] = RECIPES,
    settings: ApiSettings | None = None,
    *,
    default: str | None = None,
    start: bool = True,
    **options: Any,
) -> AsyncIterator[House]:
    """A house whose pipelines are loaded."""
    engine = Engine()
    inference = Inference(engine, Router(engine.registry))
    names = {recipe.name for recipe in recipes}
    routes = [ROUTE] if "routed" in names else []
    workspace = MemoryWorkspace(recipes, routes, default)
    deployments = Deployments(inference, workspace)
    if start:
        await deployments.start()
    app = create_app(inference, deployments, settings or ApiSettings(), **options)
    yield House(app, inference, deployments, workspace)
    app.close()
    await engine.close(1.0)


def client_of(app: HttpDoor) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened() as found:
        yield found


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(house.app) as found:
        yield found


@dataclass
class Running:
    """A server on a free port."""

    house: House
    port: int
    stop: asyncio.Event
    done: asyncio.Task[int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def exchange(self, sent: bytes, *, half_close: bool = False) -> bytes:
        """What comes back on a connection of its own until the server ends it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
        return answer


@asynccontextmanager
async def running(settings: ApiSettings | None = None, **options: Any) -> AsyncIterator[Running]:
    """The door on a free port of this machine."""
    settings = settings or ApiSettings(port=0)
    async with opened(settings=settings, **options) as house:
        stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(house.app, settings, stop, listening.set_result))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_stopped, stop, task)
            url = await asyncio.wait_for(listening, 10)
            yield Running(house, int(url.rpartition(":")[2]), stop, task)


async def _stopped(stop: asyncio.Event, task: "asyncio.Task[int]") -> None:
    stop.set()
    await task


@pytest.fixture
def open_house() -> Callable[..., Any]:
    return opened


@pytest.fixture
def run_server() -> Callable[..., Any]:
    return running


@pytest.fixture
def connect() -> Callable[[HttpDoor], httpx2.AsyncClient]:
    return client_of


@pytest.fixture
def add() -> Recipe:
    return ADD


@pytest.fixture
def blocker() -> Any:
    found = Blocker()
    yield found
    found.let_go.set()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits until something holds, and fails after seconds: for what happens on other threads."""

    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.002)

    return wait
