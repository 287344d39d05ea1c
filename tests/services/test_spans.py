"""When did each phase of a batch begin and end, and what do calls from within it carry?"""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.services.pipelines import Columns, Held, Remote, double, pipeline
from tests.services.telemetry import Kept

from headrace.core.telemetry import Span, begun, current, outgoing
from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import Context
from headrace.services.batch_run import in_place, run_batch
from headrace.services.context import Timing
from headrace.services.executor import Executor
from headrace.services.witness import Slice, Witness

BEFORE_S = 0.05


async def late_call(function: Callable[..., Any], *args: Any) -> Any:
    """A `Call` that takes a while before it begins, as a busy machine's does."""
    await asyncio.sleep(BEFORE_S)
    return function(*args)


async def spans_of(served: Pipeline, call: Any) -> dict[str, Span]:
    """What the batcher does with a traced batch; its spans by name."""
    kept, context = Kept(0.0), Context()
    trace = begun(1.0, None)
    started = time.monotonic()
    batch = Witness(kept).batch([Slice(trace, started)], served)
    assert batch is not None
    timing = Timing(1, started=started)
    await run_batch(served, Batch({"x": [1.0]}), context, batch.around(call))
    timing.run_s = time.monotonic() - started
    timing.steps = context.timings
    batch.end(timing)
    return {span.sort.name: span for span in kept.spans}


async def test_a_phase_begins_when_it_began_and_not_when_the_one_before_ended() -> None:
    spans = await spans_of(pipeline(Held()), late_call)

    began = spans["batch"].started_ns
    assert spans["preprocess"].started_ns - began >= BEFORE_S * 1e9
    assert began <= spans["queue"].ended_ns <= spans["preprocess"].started_ns
    phases = [spans["preprocess"], spans["infer"]]
    assert all(before.ended_ns <= after.started_ns for before, after in itertools.pairwise(phases))
    assert spans["infer"].ended_ns <= spans["batch"].ended_ns


async def test_what_is_awaited_begins_when_it_began_too() -> None:
    async def remote(inputs: Columns, deadline: float | None) -> Columns:
        await asyncio.sleep(BEFORE_S)
        return double(inputs)

    spans = await spans_of(pipeline(Remote(remote)), late_call)

    assert spans["infer"].started_ns - spans["preprocess"].ended_ns < BEFORE_S * 1e9
    assert spans["infer"].ended_ns - spans["infer"].started_ns >= BEFORE_S * 1e9


@pytest.mark.parametrize("where", ["here", "thread"])
async def test_calls_from_within_a_model_carry_the_batch_wherever_it_runs(where: str) -> None:
    seen = []

    def calling(inputs: Columns) -> Columns:
        seen.append(outgoing())
        return double(inputs)

    executor = Executor(1)
    call = in_place if where == "here" else executor.call
    spans = await spans_of(pipeline(Held(calling)), call)
    await executor.call(lambda: seen.append(outgoing()))
    executor.close()

    assert seen == [{"traceparent": spans["batch"].own.traceparent}, {}]
    assert current.get() is None
