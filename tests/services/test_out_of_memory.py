"""A model that runs out of memory: halves, a lower cap, a probe, and everybody gets an answer."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.infra.onnx_models import save, tensor
from tests.services.families import Families
from tests.services.pipelines import DOUBLE, Held, double, pipeline, request, turns, x

from headrace.domain.batch import Batch
from headrace.domain.memory import PROBE_AFTER_S, MemoryCap
from headrace.domain.model import ModelAdapter
from headrace.infra.runtimes.onnx import OnnxModel
from headrace.services.context import Inputs, Result
from headrace.services.engine import Engine
from headrace.services.exposition import expose


class Tight:
    """A model function whose memory holds *most* rows at a time."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, inputs: Any) -> Any:
        if len(inputs["x"]) > self.most:
            raise MemoryError
        return double(inputs)


async def crowd(engine: Engine, model: Held, size: int) -> list[int]:
    """Ask for *size* rows while the model is busy, so that they gather; returns the rows of each call for them."""
    model.hold()
    first = asyncio.ensure_future(engine.infer(DOUBLE, x(0), request()))
    await model.entered()
    before = len(model.calls)
    asked = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(size)]
    await turns()
    model.release()
    results: list[Result] = await asyncio.gather(*asked)
    await first
    assert [np.asarray(result.column("y")).tolist() for result in results] == [[2 * n] for n in range(size)]
    return model.calls[before:]


async def test_what_did_not_fit_is_halved_and_the_next_batches_are_formed_smaller(engine: Engine) -> None:
    model = Held(Tight(10))
    made = pipeline(model)
    await engine.add(made)

    first = await crowd(engine, model, 32)
    second = await crowd(engine, model, 32)

    assert max(first) == 32
    assert max(second) == 8
    assert made.cap.rows == 8
    assert engine.registry.get(DOUBLE).batcher.placement.describe()["largest_batch"] == 8


async def test_one_request_beyond_the_cap_and_bulk_work_are_run_in_parts(engine: Engine) -> None:
    model = Held(Tight(10))
    await engine.add(pipeline(model))
    await crowd(engine, model, 32)
    model.calls.clear()

    one = await engine.infer(DOUBLE, x(*range(50)), request())
    bulk = await engine.run(DOUBLE, Batch({"x": list(range(50))}), request())

    assert max(model.calls) == 8
    assert np.asarray(one.column("y")).tolist() == np.asarray(bulk.columns["y"]).tolist() == [2 * n for n in range(50)]


async def test_larger_batches_are_tried_again_later(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("headrace.domain.pipeline.MemoryCap", lambda: MemoryCap(lambda: clock["now"]))
    function = Tight(10)
    model = Held(function)
    made = pipeline(model)
    await engine.add(made)
    await crowd(engine, model, 32)

    function.most = 1000
    for _ in range(20):
        clock["now"] += PROBE_AFTER_S
        await crowd(engine, model, 32)

    assert made.cap.rows is None
    assert await crowd(engine, model, 32) == [32]


async def test_the_cap_and_the_events_are_shown(engine: Engine) -> None:
    model = Held(Tight(10))
    await engine.add(pipeline(model))
    shown = Families()
    expose(shown, engine, [])

    await crowd(engine, model, 32)

    assert shown.read("headrace_out_of_memory") == {("double", "1"): 3}
    assert shown.read("headrace_batch_size_limit") == {("double", "1"): 8}


def narrow_file(path: Path) -> Path:
    """``x`` [batch] -> ``y`` [batch], with room for four rows: beyond, it asks for terabytes on the way."""

    def constant(name: str, value: list[int]) -> Any:
        return numpy_helper.from_array(np.array(value, np.int64), name)

    nodes = [
        helper.make_node("Shape", ["x"], ["rows"]),
        helper.make_node("Sub", ["rows", "room"], ["over"]),
        helper.make_node("Max", ["over", "none"], ["beyond"]),
        helper.make_node("Mul", ["beyond", "much"], ["many"]),
        helper.make_node("Add", ["many", "one"], ["length"]),
        helper.make_node("ConstantOfShape", ["length"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["x", "zero"], ["y"]),
    ]
    weights = [constant("room", [4]), constant("none", [0]), constant("much", [10**13]), constant("one", [1])]
    ends = (tensor(name, TensorProto.FLOAT, ["batch"]) for name in ("x", "y"))
    return save(path, nodes, [next(ends)], [next(ends)], weights=weights)


async def test_onnx_runtimes_own_way_to_run_out_of_memory_is_understood(engine: Engine, tmp_path: Path) -> None:
    model: ModelAdapter = OnnxModel()
    model.load(str(narrow_file(tmp_path / "model.onnx")), {"name": "narrow", "threads": 1})
    made = pipeline(model)
    await engine.add(made)

    results = await asyncio.gather(*(engine.infer(DOUBLE, Inputs({"x": [n]}, 1), request()) for n in range(16)))

    assert [np.asarray(result.column("y")).tolist() for result in results] == [[n] for n in range(16)]
    assert made.cap.rows == 4
