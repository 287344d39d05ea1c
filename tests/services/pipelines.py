"""The smallest pipelines that show a point, and a model that a test can hold in the middle of a call."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.domain.fit import StepUse, compose
from headrace.domain.model import Model, ModelAdapter, RemoteModel
from headrace.domain.model_call import row_specs
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import Batching, PipelineSpec
from headrace.domain.step import step_type
from headrace.domain.tensors import Column, TensorSpec
from headrace.services.context import Inputs, RequestContext
from headrace.services.engine import Engine

Columns = Mapping[str, Column]
Specs = Mapping[str, TensorSpec]
Predict = Callable[[Columns], Columns]

X = {"x": TensorSpec("float32", (-1,), "x")}
Y = {"y": TensorSpec("float32", (-1,), "y")}
DOUBLE = PipelineRef("double", "1")


def double(inputs: Columns) -> Columns:
    return {"y": np.asarray(inputs["x"]) * 2}


class Held(ModelAdapter):
    """A function as a model. It counts, and while it is held every call waits inside `predict`."""

    def __init__(
        self,
        predict: Predict = double,
        *,
        takes: Specs = X,
        gives: Specs = Y,
        concurrent: bool = False,
        log: list[str] | None = None,
        name: str = "",
    ) -> None:
        self.takes, self.gives, self.function = takes, gives, predict
        self.concurrent = concurrent  # type: ignore[misc]
        self.calls: list[int] = []
        self.most_inside = 0
        self.closed = 0
        self.closed_while_inside = False
        self.log, self.name = log, name
        self._inside = 0
        self._lock = threading.Lock()
        self._entered = threading.Semaphore(0)
        self._passes = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> "Held":
        self._open.clear()
        return self

    def release(self) -> None:
        self._open.set()
        self._passes.release(1000)

    def let_one_pass(self) -> None:
        self._passes.release()

    async def entered(self) -> None:
        """Wait for one more call to have begun."""
        assert await asyncio.to_thread(self._entered.acquire, True, 5)

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        pass

    def predict(self, inputs: Columns) -> Columns:
        with self._lock:
            self.calls.append(len(next(iter(inputs.values()))))
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
            if self.log is not None:
                self.log.append(self.name)
        self._entered.release()
        try:
            if not self._open.is_set():
                assert self._passes.acquire(timeout=10)
            return self.function(inputs)
        finally:
            with self._lock:
                self._inside -= 1

    def get_input_spec(self) -> Specs:
        return self.takes

    def get_output_spec(self) -> Specs:
        return self.gives

    def close(self) -> None:
        self.closed += 1
        self.closed_while_inside |= self._inside > 0


class Remote(RemoteModel):
    """A coroutine function as a remote model."""

    def __init__(self, predict: Callable[[Columns, float | None], Any]) -> None:
        self.function = predict
        self.calls: list[int] = []

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        pass

    async def predict(self, inputs: Columns, deadline: float | None) -> Columns:
        self.calls.append(len(next(iter(inputs.values()))))
        answer: Columns = await self.function(inputs, deadline)
        return answer

    def get_input_spec(self) -> Specs:
        return X

    def get_output_spec(self) -> Specs:
        return Y


def uses(functions: Sequence[Callable[..., Any]]) -> list[StepUse]:
    return [StepUse(function.__name__, step_type(function)) for function in functions]


def pipeline(
    model: Model,
    *,
    name: str = "double",
    version: str = "1",
    before: Sequence[Callable[..., Any]] = (),
    after: Sequence[Callable[..., Any]] = (),
    digest: str = "",
    instances: Any = "auto",
    **spec: Any,
) -> Pipeline:
    declared = PipelineSpec(name=name, version=version, model="model", **spec)
    inputs, outputs = (
        row_specs(specs, batched=declared.batched) for specs in (model.get_input_spec(), model.get_output_spec())
    )
    plan = compose(uses(before), inputs, outputs, uses(after), declared.outputs)
    return Pipeline(declared, plan, model, model_name="model", digest=digest, instances=instances)


def batching(**settings: Any) -> Batching:
    return Batching(**settings)


def x(*values: Any) -> Inputs:
    return Inputs({"x": list(values)}, len(values))


def request(**values: Any) -> RequestContext:
    return RequestContext(**values)


async def turns(count: int = 10) -> None:
    """Let everything that is ready on the loop happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settled(engine: Engine) -> None:
    """Wait for what the engine does in the background: models that close, generators that end."""
    while engine._closing:
        await asyncio.wait(engine._closing)
