"""The batch use case: whole tables through pipelines, each run remembered, and run again where it was interrupted."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

from headrace.domain.errors import Conflict, InvalidRequest, NotFound
from headrace.domain.jobs import Job
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import JobStore, Tables
from headrace.domain.routing import Asked
from headrace.services.executor import Executor
from headrace.services.inference import Inference
from headrace.services.job_notes import JobNotes
from headrace.services.job_orders import OnProgress, Order, Progress, job_of, order_of
from headrace.services.job_run import TableRun


class Jobs:
    """Runs tables through pipelines, on the bulk lane of the engine. With a *store*, every run is remembered."""

    def __init__(self, inference: Inference, tables: Tables, store: JobStore | None = None) -> None:
        self._inference = inference
        self._tables = tables
        self._store = store

    async def run(self, order: Order, on_progress: OnProgress = lambda _: None) -> Progress:
        """Answer a whole table; returns once the answers are on the disk under their name.

        Answers are in the order of the input; failed rows are missing in them and stand in the errors. Raises
        EngineError when the work as a whole cannot be done, and then leaves no file behind.
        """
        _check_places(order, self._tables)
        pipeline = self._pipeline(order.asked)
        if self._store is None:
            return await self._through(order, pipeline, on_progress)
        ref, asked = pipeline.ref, order.remembered(self._tables)
        job = Job(secrets.token_hex(6), secrets.token_hex(16), ref.name, ref.version, asked)
        return await self._noted(self._store, job, order, pipeline, on_progress)

    async def resume(self, id: str, on_progress: OnProgress = lambda _: None) -> Progress:
        """Run a job that has not come to its end again, from its first row.

        Raises NotFound where there is no such job, or no such version of its pipeline any more; Conflict for one
        that runs, or is done, or of which not everything could be remembered; and what `run` does.
        """
        if self._store is None:
            raise NotFound(f"there is no job {id!r}: jobs are not remembered here")
        before = await job_of(self._store, id)
        order = order_of(before)
        _check_places(order, self._tables)
        pipeline = self._pipeline(order.asked)
        job = _again(before)
        if not await self._store.take_over(job, before):
            raise Conflict(f"job {id} has gone on, or somebody else has resumed it just now")
        return await self._noted(self._store, job, order, pipeline, on_progress)

    def _pipeline(self, asked: Asked) -> Pipeline:
        """One for the whole table."""
        return self._inference.choose(replace(asked, steady=True)).pipeline

    async def _noted(
        self, store: JobStore, job: Job, order: Order, pipeline: Pipeline, on_progress: OnProgress
    ) -> Progress:
        async with JobNotes(store, job, self._tables.absolute(order.errors_place)) as notes:

            def told(progress: Progress) -> None:
                notes.progress = progress
                on_progress(progress)

            done = await self._through(order, pipeline, told)
        return replace(done, job=job.id)

    async def _through(self, order: Order, pipeline: Pipeline, on_progress: OnProgress) -> Progress:
        files = Executor(threads=2)  # the engine's own threads are for models: a slow disk must not hold one
        run = TableRun(order, pipeline, self._inference.engine, self._tables, files, on_progress)
        try:
            return await run.finished()
        finally:
            await asyncio.to_thread(files.close)


def _again(before: Job) -> Job:
    """The next attempt at a job, before it has begun."""
    return Job(before.id, secrets.token_hex(16), before.pipeline, before.version, before.asked, before.attempt + 1)


def _check_places(order: Order, tables: Tables) -> None:
    """Raises InvalidRequest where a file would be written over another one of the same run."""
    if order.chunk_rows < 1:
        raise InvalidRequest(f"a chunk has at least one row, not {order.chunk_rows}")
    for place, role in ((order.output, "output"), (order.errors_place, "errors")):
        if tables.same(place, order.input):
            raise InvalidRequest(f"{place} is the input; name another file for the {role}")
    if tables.same(order.output, order.errors_place):
        raise InvalidRequest(f"{order.output} cannot hold the answers and the errors; name another file for one")
