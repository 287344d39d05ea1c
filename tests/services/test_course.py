"""A request whose caller is told of its end instead of waiting for it."""

import asyncio
from typing import Any

import numpy as np
import pytest
from tests.services.pipelines import DOUBLE, Held, pipeline, request, turns, x

from headrace.domain.errors import InvalidInput, NotFound
from headrace.domain.routing import Asked, Router
from headrace.services.context import Inputs, Result
from headrace.services.engine import Engine
from headrace.services.inference import Inference

ASKED = Asked("double")


class Told(list[Any]):
    """What was told."""

    def __call__(self, outcome: Result | BaseException) -> None:
        self.append(outcome)


@pytest.fixture
def inference(engine: Engine) -> Inference:
    return Inference(engine, Router(engine.registry))


def codes(inference: Inference) -> dict[str, int]:
    return {key[3]: sum(histogram.counts) for key, histogram in inference.measures.requests.items()}


async def test_it_is_told_the_result_once_and_counted_once(inference: Inference) -> None:
    await inference.engine.add(pipeline(Held()))
    told = Told()

    course = inference.start(inference.choose(ASKED), x(1, 2), request(), told)
    await asyncio.wait_for(inference.engine.registry.get(DOUBLE).batcher.drained(), 5)

    assert course is not None and course.done() and not course.cancelled()
    assert [np.asarray(result.column("y")).tolist() for result in told] == [[2, 4]]
    assert told[0].route == "only version"
    assert codes(inference) == {"ok": 1}
    assert inference.in_flight == 0


async def test_a_mistake_in_the_request_is_told_and_counted(inference: Inference) -> None:
    await inference.engine.add(pipeline(Held()))
    told = Told()

    inference.start(inference.choose(ASKED), Inputs({"z": [1]}, 1), request(), told)

    assert [type(error) for error in told] == [InvalidInput]
    assert codes(inference) == {"invalid_input": 1}


async def test_a_caller_that_leaves_is_told_nothing_and_its_work_never_runs(inference: Inference) -> None:
    model = Held().hold()
    await inference.engine.add(pipeline(model))
    first, second = Told(), Told()
    found = inference.choose(ASKED)
    inference.start(found, x(1), request(), first)
    await model.entered()
    course = inference.start(found, x(2), request(), second)
    await turns()

    assert course is not None and course.cancel()
    assert not course.cancel()
    model.release()
    await asyncio.wait_for(inference.engine.registry.get(DOUBLE).batcher.drained(), 5)

    assert (len(first), len(second), model.calls) == (1, 0, [1])
    assert codes(inference) == {"ok": 1, "cancelled": 1}
    assert inference.in_flight == 0


async def test_a_pipeline_that_went_meanwhile_is_told_as_not_there(inference: Inference) -> None:
    await inference.engine.add(pipeline(Held()))
    found, told = inference.choose(ASKED), Told()
    await inference.engine.remove(DOUBLE)
    inference.forget_choices()

    inference.start(found, x(1), request(), told)

    assert [type(error) for error in told] == [NotFound]
