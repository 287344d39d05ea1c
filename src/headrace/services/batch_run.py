"""Takes one batch through its pipeline, where the caller says: in a worker thread or in place."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.domain.batch import Batch
from headrace.domain.coerce import coerce
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import Context
from headrace.domain.traces import let_go

RunBatch = Callable[[Pipeline, Batch, Context, Callable[..., Any]], Awaitable[Batch]]
"""How `run_batch` is called; somebody who looks on may stand in its place."""


async def run_batch(pipeline: Pipeline, batch: Batch, context: Context, call: Callable[..., Any]) -> Batch:
    """Coerce *batch* to what the pipeline takes and run it, both where *call* says."""
    if not pipeline.synchronous:
        ready = await call(lambda part, inner: _coerced(part, inner, pipeline), batch, context)
        return _parted(await pipeline.run(ready, context, call))

    # One trip: a synchronous pipeline is a single segment, and the coercion rides along.
    async def ride(segment: Callable[[Batch, Context], Batch], given: Batch, outer: Context) -> Batch:
        result: Batch = await call(lambda part, inner: segment(_coerced(part, inner, pipeline), inner), given, outer)
        return result

    return _parted(await pipeline.run(batch, context, ride))


def _parted(done: Batch) -> Batch:
    """*done*, whose failures hold nothing of the batch any more."""
    if done.failures:
        let_go(done.failures.values())
    return done


def _coerced(batch: Batch, context: Context, pipeline: Pipeline) -> Batch:
    started = time.perf_counter()
    coerced = coerce(batch, pipeline.inputs)
    context.timings.append(("preprocess", "inputs", time.perf_counter() - started))
    return coerced


async def in_place(function: Callable[[Batch, Context], Batch], batch: Batch, context: Context) -> Batch:
    """A `Call` that runs its segment where it stands."""
    return function(batch, context)


def seconds_of(context: Context) -> float:
    """How long the steps of a batch took together."""
    return sum(seconds for _, _, seconds in context.timings)
