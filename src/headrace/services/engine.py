"""Holds the loaded pipelines and runs them at every speed: one request, a ready batch, a stream of chunks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from headrace.domain.batch import Batch, Row
from headrace.domain.errors import EngineError, InvalidInput, InvalidRequest, NotReady, Overloaded
from headrace.domain.model import GenerativeModel, ModelAdapter
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import Lease, PipelineRef, Registry
from headrace.domain.spec import Auto
from headrace.domain.step import Context
from headrace.services.batch_run import RunBatch, run_batch, seconds_of
from headrace.services.batcher import Batcher
from headrace.services.context import Inputs, RequestContext, Result, Timing
from headrace.services.entries import Answer
from headrace.services.executor import Executor
from headrace.services.gate import Gate
from headrace.services.generation import Generation
from headrace.services.hooks import Hooks
from headrace.services.inputs import complete
from headrace.services.measures import Measures
from headrace.services.model_turns import ModelTurns
from headrace.services.witness import Slice, Witness

GENERATIONS = 64
"""How many answers may be generated at the same time; more are refused at once."""
CLOSING_S = 5.0
"""How long a stop waits for models to close and threads to end, after everything was drained or cut off."""


class Served:
    """A loaded pipeline with its batcher."""

    def __init__(
        self,
        pipeline: Pipeline,
        gate: Gate,
        executor: Executor,
        measures: Measures,
        run: RunBatch = run_batch,
        witness: Witness | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.ref = pipeline.ref
        self.lease: Lease[Served] = Lease(self)
        if (processes := pipeline.processes) > 0:
            # Its batches only wait for processes of its own. One that hangs there must hold up nobody else.
            gate, executor = Gate(processes), Executor(max(processes, executor.threads))
        self.executor = executor
        self.instances = _instances(pipeline, gate.places)
        self.batcher = Batcher(
            pipeline,
            gate=gate,
            executor=executor,
            measures=measures,
            instances=self.instances,
            run=run,
            on_busy=self.lease.take,
            on_idle=self.lease.give,
            witness=witness,
        )
        self.turns = ModelTurns() if _alone(pipeline) else None
        """What the threads of generated answers take turns by, where only one of them may be in the model."""
        self.generating = 0

    @property
    def in_flight(self) -> int:
        """How many requests wait, run, or are answered in pieces."""
        return self.batcher.in_flight + self.generating


def _alone(pipeline: Pipeline) -> bool:
    """Whether one thread at a time may be in the model of *pipeline*."""
    return isinstance(pipeline.model, ModelAdapter) and not pipeline.model.concurrent


def _instances(pipeline: Pipeline, places: int) -> int:
    """How many batches of *pipeline* may run at the same time."""
    wanted: int | Auto = pipeline.instances
    if _alone(pipeline):
        return 1
    return places if wanted == "auto" else min(wanted, places)


class Engine:
    """Loaded pipelines by (name, version), and the three ways to run one."""

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        places: int | None = None,
        measures: Measures | None = None,
        hooks: Hooks | None = None,
        witness: Witness | None = None,
    ) -> None:
        """*places* is how many batches run at the same time over all pipelines; the processors by default.

        *hooks* are told what happens, *witness* traces and logs requests; without them nothing of it costs anything.
        """
        self.hooks = hooks
        self.witness = witness
        self._run_batch = run_batch if hooks is None else hooks.run_batch
        self.measures = measures or Measures()
        self.executor = executor or Executor()
        self.gate = Gate(places or max(1, os.cpu_count() or 1))
        self.registry: Registry[Served] = Registry()
        self._generating = 0
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        self._slices: set[asyncio.Task[Batch]] = set()

    async def add(self, pipeline: Pipeline, warm_up: Sequence[Batch] = ()) -> None:
        """Serve *pipeline*, after a run of each of *warm_up*. Raises Conflict if its (name, version) is taken."""
        served = Served(pipeline, self.gate, self.executor, self.measures, self._run_batch, self.witness)
        await self._warm(served, warm_up)
        self.registry.add(served, served.lease)
        self._loaded(pipeline.ref)

    async def swap(self, pipeline: Pipeline, warm_up: Sequence[Batch] = ()) -> None:
        """Serve *pipeline* in the place of the one with its reference, which finishes what it has and closes.

        The new one runs *warm_up* first, while the old one still answers.
        """
        served = Served(pipeline, self.gate, self.executor, self.measures, self._run_batch, self.witness)
        await self._warm(served, warm_up)
        old = self.registry.get(pipeline.ref) if pipeline.ref in self.registry else None
        self.registry.swap(served, self._retired, served.lease)
        if old is not None:
            old.batcher.close()
        self._loaded(pipeline.ref)

    def _loaded(self, ref: PipelineRef) -> None:
        if self.hooks is not None:
            self.hooks.pipeline_loaded(ref)

    async def _warm(self, served: Served, batches: Sequence[Batch]) -> None:
        """Run *batches*, the first one twice: its first run pays for what is set up lazily and teaches nothing."""
        for number, batch in enumerate([*batches[:1], *batches]):
            context = Context(map=self.executor.map)
            done = await run_batch(served.pipeline, batch, context, served.executor.call)
            if number > 0 and not done.failures:
                served.batcher.placement.observe(batch.size, seconds_of(context))

    async def remove(self, ref: PipelineRef) -> None:
        """Stop serving *ref*; what is queued is still answered, then the model closes. Raises NotFound."""
        batcher = self.registry.get(ref).batcher
        self.registry.remove(ref, self._retired)
        batcher.close()

    async def infer(self, ref: PipelineRef, inputs: Inputs, request: RequestContext) -> Result:
        """Answer one request, in a batch with strangers. Raises EngineError; rows that failed are in the result."""
        served = self.registry.get(ref)
        return await served.batcher.submit(complete(served.pipeline, inputs), request)

    def submit(self, ref: PipelineRef, inputs: Inputs, request: RequestContext, answer: Answer) -> None:
        """The same for a caller that does not wait: *answer* is given what `infer` returns or raises.

        What is wrong with the request itself is raised at once.
        """
        served = self.registry.get(ref)
        served.batcher.queue(complete(served.pipeline, inputs), request, answer)

    async def run(self, ref: PipelineRef, batch: Batch, request: RequestContext) -> Batch:
        """Run a ready batch in slices on the bulk lane; returns the output columns and the failures.

        Raises InvalidInput for a missing or an unknown column, NotReady when the engine closes meanwhile.
        """
        lease = self.registry.lease(ref)
        served = lease.take()
        try:
            whole = Batch(complete(served.pipeline, Inputs(batch.columns, batch.size)).columns, batch.size)
            done: list[Batch] = []
            start = 0
            while start < whole.size:
                if self._closed:
                    raise NotReady("the server stopped before this batch was done")
                rows = served.batcher.picking.slice_rows(whole, start)
                part = whole.take(start, min(start + rows, whole.size))
                task = asyncio.get_running_loop().create_task(self._slice(served, part, request))
                self._slices.add(task)
                task.add_done_callback(self._slices.discard)
                # A caller that leaves must not free the place of a thread that still works: the slice goes on.
                done.append(await asyncio.shield(task))
                start += part.size
            return batch.followed_by(_joined(done, served.pipeline))
        finally:
            lease.give()

    async def _slice(self, served: Served, part: Batch, request: RequestContext) -> Batch:
        context = Context(request.options, deadline=request.deadline, map=self.executor.map)
        timing, asked_at, spans = Timing(part.size), time.monotonic(), None
        lease = served.lease
        lease.take()
        try:
            await served.batcher.enter()
            context.crowded = self.gate.shared
            timing.started = time.monotonic()
            if self.witness is not None and request.trace is not None:
                spans = self.witness.batch([Slice(request.trace, asked_at)], served.pipeline)
            try:
                call = served.executor.call if spans is None else spans.around(served.executor.call)
                done = await self._run_batch(served.pipeline, part, context, call)
            finally:
                served.batcher.leave()
            timing.run_s = time.monotonic() - timing.started
        finally:
            lease.give()
            timing.steps, timing.tokens = context.timings, context.tokens
            if spans is not None:
                spans.end(timing)
        waited_s, device = timing.started - asked_at, served.pipeline.device
        self.measures.batch(served.ref, timing, waited_s, done, mode=request.mode, device=device)
        if not done.failures:
            served.batcher.placement.observe(part.size, seconds_of(context))
        elif self.hooks is not None:
            self.hooks.error(served.ref, next(iter(done.failures.values())))
        return done

    async def generate(self, ref: PipelineRef, inputs: Inputs, request: RequestContext) -> AsyncGenerator[Row]:
        """Yield the answer to one row in chunks, each through the postprocessing.

        Holds a lease, not a place at the gate. Raises InvalidRequest if the model does not generate, InvalidInput
        for more than one row, Overloaded when too many answers are being generated.
        """
        lease = self.registry.lease(ref)
        pipeline = lease.value.pipeline
        if not isinstance(pipeline.model, GenerativeModel):
            raise InvalidRequest(f"pipeline {ref} does not generate")
        if inputs.rows != 1:
            raise InvalidInput(f"an answer is generated for one row, not for {inputs.rows}")
        if self._generating >= GENERATIONS:
            raise Overloaded(f"{GENERATIONS} answers are being generated already")
        generation = Generation(pipeline, pipeline.model, self.executor, request, lease.value.turns)
        spans = None
        if self.witness is not None and request.trace is not None:
            spans = self.witness.batch([Slice(request.trace, time.monotonic())], pipeline)
        lease.take()
        self._generating += 1
        lease.value.generating += 1
        try:
            async with aclosing(generation.rows(complete(pipeline, inputs))) as rows:
                async for row in rows:
                    yield row
        finally:
            timing = generation.timing
            self.measures.batch(ref, timing, 0.0, mode=request.mode, device=pipeline.device)
            if spans is not None:
                spans.end(timing)
            # Not awaited here: who leaves early must not wait for the thread that is still in the model.
            self._in_background(self._end(generation, lease))

    async def _end(self, generation: Generation, lease: Lease[Served]) -> None:
        try:
            await generation.close()
        finally:
            self._generating -= 1
            lease.value.generating -= 1
            lease.give()

    async def close(self, drain_s: float = 30.0) -> int:
        """Take no more requests, finish what there is within *drain_s*, close every model.

        Returns how many requests were cut off.
        """
        self._closed = True
        served = [self.registry.get(ref) for ref in self.registry]
        for one in served:
            one.batcher.close()
        cut = 0
        try:
            await asyncio.wait_for(asyncio.gather(*(one.batcher.drained() for one in served)), drain_s)
        except TimeoutError:
            stopped = NotReady("the server stopped before this request was answered")
            cut = sum(one.batcher.abandon(stopped) for one in served)
        for ref in list(self.registry):
            self.registry.remove(ref, self._retired)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSING_S)
        await asyncio.to_thread(self.executor.close, CLOSING_S)
        return cut

    def _retired(self, served: Served) -> None:
        """Close a model that nobody uses any more, off the loop: freeing memory can take a while."""
        self._in_background(self._close_model(served))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_model(self, served: Served) -> None:
        await self.executor.call(served.pipeline.close)
        if served.executor is not self.executor:
            await self.executor.call(served.executor.close)


def _joined(parts: list[Batch], pipeline: Pipeline) -> Batch:
    """The finished slices of one batch as one, with the failures under their numbers in it."""
    alive = [Batch(part.columns, part.size) for part in parts if part.size]
    columns: Mapping[str, Any] = Batch.concat(alive).columns if alive else {name: [] for name in pipeline.outputs}
    size = sum(part.size for part in alive)
    if not any(part.failures for part in parts):
        return Batch(columns, size)  # numbering every row would cost a large batch more than the model does
    failures: dict[int, EngineError] = {}
    positions: list[int] = []
    start = 0
    for part in parts:
        failures.update({start + row: error for row, error in part.failures.items()})
        positions.extend(start + row for row in (part.positions or range(part.size)))
        start += part.size + len(part.failures)
    return Batch(columns, size, failures=failures, positions=tuple(positions))
