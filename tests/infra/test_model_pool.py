"""Do pipelines share a model only when they may, and does the last one to leave close it?"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.domain.model import ModelAdapter
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.workspace.model_pool import ModelPool


class Counted(ModelAdapter):
    concurrent = True

    def __init__(self) -> None:
        self.closed = 0

    def load(self, model_path: str, config: Mapping[str, Any]) -> None: ...
    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        return inputs

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        return {}

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        return {}

    def close(self) -> None:
        self.closed += 1


class OneAtATime(Counted):
    concurrent = False


def test_the_last_holder_closes_the_model() -> None:
    pool = ModelPool()
    first, second = pool.take("a", Counted), pool.take("a", Counted)
    model = first.model
    assert isinstance(model, Counted)

    first.release()
    first.release()
    assert (model.closed, second.model is model) == (0, True)
    second.release()

    assert (model.closed, len(pool)) == (1, 0)


def test_a_closed_model_is_loaded_afresh() -> None:
    pool = ModelPool()
    before = pool.take("a", Counted)
    before.release()

    assert pool.take("a", Counted).model is not before.model


def test_a_model_that_takes_one_caller_at_a_time_is_not_shared() -> None:
    pool = ModelPool()

    assert pool.take("a", OneAtATime).model is not pool.take("a", OneAtATime).model


def test_several_threads_load_once() -> None:
    pool, loads, together = ModelPool(), [], threading.Barrier(8)

    def load() -> Counted:
        loads.append(1)
        return Counted()

    def take(_: int) -> int:
        together.wait()
        return id(pool.take("a", load).model)

    with ThreadPoolExecutor(8) as threads:
        models = set(threads.map(take, range(8)))

    assert (len(models), len(loads)) == (1, 1)


def test_a_failed_load_leaves_nothing_behind() -> None:
    pool = ModelPool()

    def load() -> Counted:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        pool.take("a", load)

    assert len(pool) == 0
    assert pool.take("a", Counted).model
