"""Takes one batch through its pipeline, where the caller says: in a worker thread or in place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from headrace.domain.batch import Batch
from headrace.domain.blame import blamed
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import Context
from headrace.domain.traces import let_go

RunBatch = Callable[[Pipeline, Batch, Context, Callable[..., Any]], Awaitable[Batch]]
"""How `run_batch` is called; somebody who looks on may stand in its place."""


async def run_batch(pipeline: Pipeline, batch: Batch, context: Context, call: Callable[..., Any]) -> Batch:
    """Coerce *batch* to what the pipeline takes and run it, both where *call* says."""
    if pipeline.synchronous:
        done: Batch = await call(partial(run_here, pipeline), batch, context)
        return done
    done = await pipeline.run(await call(pipeline.coerced, batch, context), context, call)
    return _parted(pipeline, batch, done)


def run_here(pipeline: Pipeline, batch: Batch, context: Context) -> Batch:
    """The same in this very thread, for a pipeline that is synchronous."""
    return _parted(pipeline, batch, pipeline.through(batch, context))


def _parted(pipeline: Pipeline, batch: Batch, done: Batch) -> Batch:
    """*done*, whose failures hold nothing of the *batch* any more, and are blamed on whose they are."""
    if done.failures:
        done = blamed(batch, done, pipeline.inputs)
        let_go(done.failures.values())
    return done


async def in_place(function: Callable[[Batch, Context], Batch], batch: Batch, context: Context) -> Batch:
    """A `Call` that runs its segment where it stands."""
    return function(batch, context)


def seconds_of(context: Context) -> float:
    """How long the steps of a batch took together."""
    return sum(seconds for _, _, seconds, _ in context.timings)
