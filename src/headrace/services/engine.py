"""Holds the loaded pipelines and runs them at every speed: one request, a ready batch, a stream of chunks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from headrace.domain.batch import Batch, Row
from headrace.domain.errors import EngineError, InvalidRequest, NotReady, Overloaded
from headrace.domain.model import GenerativeModel, ModelAdapter
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import Lease, PipelineRef, Registry
from headrace.domain.spec import Auto
from headrace.domain.step import Context
from headrace.domain.tensors import Column
from headrace.services.batcher import Batcher, run_batch
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.executor import Executor
from headrace.services.gate import Gate
from headrace.services.measures import Measures

GENERATIONS = 64
"""How many answers may be generated at the same time; more are refused at once."""


class Served:
    """A loaded pipeline with its batcher."""

    def __init__(self, pipeline: Pipeline, gate: Gate, executor: Executor, measures: Measures) -> None:
        self.pipeline = pipeline
        self.ref = pipeline.ref
        self.lease: Lease[Served] = Lease(self)
        self.batcher = Batcher(
            pipeline,
            gate=gate,
            executor=executor,
            measures=measures,
            instances=_instances(pipeline, gate.places),
            on_busy=self.lease.take,
            on_idle=self.lease.give,
        )


def _instances(pipeline: Pipeline, places: int) -> int:
    """How many batches of *pipeline* may run at the same time."""
    wanted: int | Auto = pipeline.instances
    if isinstance(pipeline.model, ModelAdapter) and not pipeline.model.concurrent:
        return 1
    return places if wanted == "auto" else min(wanted, places)


class Engine:
    """Loaded pipelines by (name, version), and the three ways to run one."""

    def __init__(
        self, executor: Executor | None = None, *, places: int | None = None, measures: Measures | None = None
    ) -> None:
        """*places* is how many batches run at the same time over all pipelines; the processors by default."""
        self.measures = measures or Measures()
        self.executor = executor or Executor()
        self.gate = Gate(places or max(1, os.cpu_count() or 1))
        self.registry: Registry[Served] = Registry()
        self._generating = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._slices: set[asyncio.Task[Batch]] = set()

    async def add(self, pipeline: Pipeline, warm_up: Sequence[Batch] = ()) -> None:
        """Serve *pipeline*, after a run of each of *warm_up*. Raises Conflict if its (name, version) is taken."""
        served = Served(pipeline, self.gate, self.executor, self.measures)
        await self._warm(served, warm_up)
        self.registry.add(served, served.lease)

    async def swap(self, pipeline: Pipeline, warm_up: Sequence[Batch] = ()) -> None:
        """Serve *pipeline* in the place of the one with its reference, which finishes what it has and closes.

        The new one runs *warm_up* first, while the old one still answers.
        """
        served = Served(pipeline, self.gate, self.executor, self.measures)
        await self._warm(served, warm_up)
        old = self.registry.get(pipeline.ref) if pipeline.ref in self.registry else None
        self.registry.swap(served, self._retired, served.lease)
        if old is not None:
            old.batcher.close()

    async def _warm(self, served: Served, batches: Sequence[Batch]) -> None:
        """Run *batches*, the first one twice: its first run pays for what is set up lazily and teaches nothing."""
        for number, batch in enumerate([*batches[:1], *batches]):
            context = Context(map=self.executor.map)
            await run_batch(served.pipeline, batch, context, self.executor.call)
            if number > 0:
                served.batcher.placement.observe(batch.size, sum(seconds for _, _, seconds in context.timings))

    async def remove(self, ref: PipelineRef) -> None:
        """Stop serving *ref*; what is queued is still answered, then the model closes. Raises NotFound."""
        batcher = self.registry.get(ref).batcher
        self.registry.remove(ref, self._retired)
        batcher.close()

    async def infer(self, ref: PipelineRef, inputs: Inputs, request: RequestContext) -> Result:
        """Answer one request, in a batch with strangers. Raises EngineError; rows that failed are in the result."""
        return await self.registry.get(ref).batcher.submit(inputs, request)

    async def run(self, ref: PipelineRef, batch: Batch, request: RequestContext) -> Batch:
        """Run a ready batch in slices on the bulk lane; returns the output columns and the failures."""
        lease = self.registry.lease(ref)
        served = lease.take()
        try:
            done: list[Batch] = []
            start = 0
            while start < batch.size:
                rows = served.batcher.placement.bulk_rows() if served.pipeline.batched else 1
                part = batch.take(start, min(start + rows, batch.size))
                task = asyncio.get_running_loop().create_task(self._slice(served, part, request))
                self._slices.add(task)
                task.add_done_callback(self._slices.discard)
                # A caller that leaves must not free the place of a thread that still works: the slice goes on.
                done.append(await asyncio.shield(task))
                start += part.size
            return _joined(done, served.pipeline)
        finally:
            lease.give()

    async def _slice(self, served: Served, part: Batch, request: RequestContext) -> Batch:
        context = Context(request.options, deadline=request.deadline, map=self.executor.map)
        await self.gate.enter("bulk")
        try:
            done = await run_batch(served.pipeline, part, context, self.executor.call)
            served.batcher.placement.observe(part.size, sum(seconds for _, _, seconds in context.timings))
            return done
        finally:
            self.gate.leave()

    async def generate(self, ref: PipelineRef, inputs: Inputs, request: RequestContext) -> AsyncIterator[Row]:
        """Yield the answer to one row in chunks, each through the postprocessing.

        Holds a lease, not a place at the gate. Raises InvalidRequest if the model does not generate, Overloaded
        when too many answers are being generated.
        """
        lease = self.registry.lease(ref)
        model = lease.value.pipeline.model
        if not isinstance(model, GenerativeModel):
            raise InvalidRequest(f"pipeline {ref} does not generate")
        if self._generating >= GENERATIONS:
            raise Overloaded(f"{GENERATIONS} answers are being generated already")
        pipeline = lease.take().pipeline
        self._generating += 1
        try:
            context = Context(request.options, deadline=request.deadline, map=self.executor.map)
            batch = Batch(inputs.columns, inputs.rows)
            ready = await self.executor.call(pipeline.prepared, batch, context)
            _raise_failures(ready)
            given = {name: ready.columns[name] for name in pipeline.model.get_input_spec() if name in ready.columns}
            chunks = model.generate(given, context.deadline)
            async for chunk in self._chunks(chunks):
                answer = await self.executor.call(pipeline.completed, ready.with_columns(**chunk), context)
                _raise_failures(answer)
                yield next(answer.rows())
        finally:
            self._generating -= 1
            lease.give()

    async def _chunks(
        self, chunks: Iterator[Mapping[str, Column]] | AsyncIterator[Mapping[str, Column]]
    ) -> AsyncIterator[Mapping[str, Column]]:
        if isinstance(chunks, AsyncIterator):
            async for chunk in chunks:
                yield chunk
            return
        end = object()
        while (chunk := await self.executor.call(next, chunks, end)) is not end:
            yield chunk

    async def close(self, drain_s: float = 30.0) -> int:
        """Take no more requests, finish what there is within *drain_s*, close every model.

        Returns how many requests were cut off.
        """
        served = [self.registry.get(ref) for ref in self.registry]
        for one in served:
            one.batcher.close()
        cut = 0
        try:
            await asyncio.wait_for(asyncio.gather(*(one.batcher.drained() for one in served)), drain_s)
        except TimeoutError:
            stopped = NotReady("the server stopped before this request could run")
            cut = sum(one.batcher.abandon(stopped) for one in served)
        for one in served:
            self.registry.remove(one.ref, self._retired)
        if self._closing:
            await asyncio.wait(self._closing, timeout=5)
        self.executor.close()
        return cut

    def _retired(self, served: Served) -> None:
        """Close a model that nobody uses any more, off the loop: freeing memory can take a while."""
        task = asyncio.get_running_loop().create_task(self._close_model(served))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_model(self, served: Served) -> None:
        await self.executor.call(served.pipeline.close)


def _raise_failures(batch: Batch) -> None:
    for error in batch.failures.values():
        raise error


def _joined(parts: list[Batch], pipeline: Pipeline) -> Batch:
    """The finished slices of one batch as one, with the failures under their numbers in it."""
    failures: dict[int, EngineError] = {}
    positions: list[int] = []
    start = 0
    for part in parts:
        total = part.size + len(part.failures)
        failures.update({start + row: error for row, error in part.failures.items()})
        positions.extend(start + row for row in (part.positions or range(part.size)))
        start += total
    alive = [Batch(part.columns, part.size) for part in parts if part.size]
    columns: Mapping[str, Any] = Batch.concat(alive).columns if alive else {name: [] for name in pipeline.outputs}
    return Batch(columns, len(positions), failures=failures, positions=tuple(positions) if failures else None)
