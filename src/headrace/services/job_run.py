"""One table on its way through a pipeline: in chunks, reading ahead and writing behind."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import numpy as np

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, Internal
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Chunk, Table, Tables, TableSink, Values
from headrace.domain.tensors import TEXT, TensorSpec
from headrace.services.context import RequestContext
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.job_columns import ROW, Reading, reading
from headrace.services.job_orders import OnProgress, Order, Progress
from headrace.services.job_sizes import FIRST_ROWS, bearable_rows
from headrace.services.second_look import run_fairly

QUEUED: Final = 2
"""Chunks read ahead of the pipeline, and answers waiting to be written: more would only take memory."""
ERROR_COLUMNS: Final[Mapping[str, TensorSpec]] = {
    "row": TensorSpec("int64", (-1,)),
    "code": TEXT,
    "message": TEXT,
    "original": TensorSpec("any", None),
}

T = TypeVar("T")


class TableRun:
    """One order under way. Reading, running and writing are three tasks with a short queue between each two."""

    def __init__(
        self,
        order: Order,
        pipeline: Pipeline,
        engine: Engine,
        tables: Tables,
        files: Executor,
        on_progress: OnProgress,
    ) -> None:
        self._order = order
        self._pipeline = pipeline
        self._engine = engine
        self._tables = tables
        self._files = files
        self._on_progress = on_progress
        self._request = RequestContext("job", door="job", mode="job", options=order.options)
        self._started = time.monotonic()
        self._progress = Progress(pipeline.ref)
        self._rows = min(FIRST_ROWS, order.chunk_rows)
        self._output: TableSink | None = None
        self._errors: TableSink | None = None

    async def finished(self) -> Progress:
        """Run it; returns once the answers are on the disk under their name."""
        witness = self._engine.witness
        if witness is None:
            return await self._finished()
        witness.begin(self._request)
        code = Internal.code
        try:
            progress = await self._finished()
            code = "ok"
            return progress
        except EngineError as error:
            code = error.code
            raise
        finally:
            witness.end(self._request, self._pipeline.ref, code, self._started)

    async def _finished(self) -> Progress:
        table = await self._in_thread(self._tables.open, self._order.input)
        try:
            await self._in_thread(self._open_sinks, table)
            await self._through(table)
            await self._in_thread(self._publish)
        finally:
            await self._in_thread(self._let_go, table)
        return self._report(replace(self._progress, read=1.0))

    def _open_sinks(self, table: Table) -> None:
        order = self._order
        self._progress = replace(self._progress, total=table.rows)
        self._reading = reading(
            self._pipeline, table.columns, given=order.given, keep=order.keep, row_number=order.row_number
        )
        kept = [*([ROW] if order.row_number else []), *self._reading.keep]
        self._output = self._tables.create(order.output, kept, self._pipeline.outputs)
        if order.errors is not None:
            self._errors = self._tables.create(order.errors, (), ERROR_COLUMNS)

    async def _through(self, table: Table) -> None:
        ready: asyncio.Queue[Chunk | None] = asyncio.Queue(QUEUED)
        done: asyncio.Queue[tuple[Chunk, asyncio.Task[Batch]] | None] = asyncio.Queue(QUEUED)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(table, self._reading, ready))
                tasks.create_task(self._run(ready, done, tasks))
                tasks.create_task(self._write(done))
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _read(self, table: Table, wanted: Reading, ready: asyncio.Queue[Chunk | None]) -> None:
        columns = list(dict.fromkeys(wanted.keep.values()))
        chunks = table.chunks(wanted.wanted, columns, self._order.chunk_rows)
        while (chunk := await self._in_thread(next, chunks, None)) is not None:
            await ready.put(chunk)
        await ready.put(None)

    async def _run(
        self,
        ready: asyncio.Queue[Chunk | None],
        done: asyncio.Queue[tuple[Chunk, asyncio.Task[Batch]] | None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Start runs, as many at a time as the engine has places; they are written in the order of the table."""
        places = asyncio.Semaphore(self._engine.gate.places)
        while (chunk := await ready.get()) is not None:
            for part in self._parts(chunk):
                await places.acquire()
                await done.put((part, tasks.create_task(self._answer(part, places))))
        await done.put(None)

    async def _answer(self, part: Chunk, places: asyncio.Semaphore) -> Batch:
        started = time.monotonic()
        try:
            batch = Batch(part.columns, len(part.numbers))
            answer = await run_fairly(self._engine, self._pipeline.ref, batch, self._request)
        finally:
            places.release()
        self._rows = bearable_rows(answer, self._order.chunk_rows)
        self._count(part, answer, time.monotonic() - started)
        return answer

    def _parts(self, chunk: Chunk) -> Iterator[Chunk]:
        """*chunk* in pieces that give answers of a bearable size."""
        start, rows = 0, len(chunk.numbers)
        while start < rows or start == 0:
            stop = min(start + self._rows, rows)
            yield chunk.take(start, stop)
            start = max(stop, 1)

    async def _write(self, done: asyncio.Queue[tuple[Chunk, asyncio.Task[Batch]] | None]) -> None:
        while (item := await done.get()) is not None:
            chunk, running = item
            failed = await self._in_thread(self._store, chunk, await running)
            rows = len(chunk.numbers) + len(chunk.unreadable)
            before = self._progress
            self._report(replace(before, rows=before.rows + rows, failed=before.failed + failed, read=chunk.read))

    def _count(self, chunk: Chunk, answer: Batch, took_s: float) -> None:
        """Count every row as a request that was answered, as those of the other speeds are."""
        codes = Counter(error.code for error in answer.failures.values())
        codes.update(row.error.code for row in chunk.unreadable.values())
        codes["ok"] = answer.size
        for code, rows in codes.items():
            if rows:
                self._engine.measures.request(self._pipeline.ref, "job", "job", code, took_s, rows)

    def _store(self, chunk: Chunk, answer: Batch) -> int:
        """Append the answers of one chunk and its failed rows; returns how many failed."""
        assert self._output is not None
        kept: dict[str, Values] = {name: chunk.kept[column] for name, column in self._reading.keep.items()}
        if self._order.row_number:
            kept[ROW] = np.asarray(chunk.numbers, dtype=np.int64)
        self._output.write(answer.columns, kept, answer.positions if answer.failures else None)
        failed = _failed(chunk, answer)
        if failed:
            if self._errors is None:
                self._errors = self._tables.create(self._order.errors_place, (), ERROR_COLUMNS)
            self._errors.write({name: [row[name] for row in failed] for name in ERROR_COLUMNS}, {})
        return len(failed)

    def _publish(self) -> None:
        """Bring all to the disk first: a disk that is full must not leave one file without the other."""
        sinks = [sink for sink in (self._errors, self._output) if sink is not None]
        for sink in sinks:
            sink.finish()
        if self._errors is None:
            self._tables.remove(self._order.errors_place)  # of an earlier run, whose output is replaced now
        for sink in sinks:
            sink.publish()

    def _let_go(self, table: Table) -> None:
        table.close()
        for sink in (self._output, self._errors):
            if sink is not None:
                sink.abandon()

    def _report(self, progress: Progress) -> Progress:
        place = self._order.errors_place if self._errors is not None else None
        self._progress = replace(progress, seconds=time.monotonic() - self._started, errors=place)
        self._on_progress(self._progress)
        return self._progress

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run *function* in a thread. Who is cancelled waits for it: the file that it has in hand is closed next."""
        future = self._files.call(function, *args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise


def _failed(chunk: Chunk, answer: Batch) -> list[dict[str, Any]]:
    """The failed rows of a chunk, unreadable ones among them, in the order of the table."""
    found: list[tuple[int, EngineError, Any]] = [
        (number, row.error, row.original) for number, row in chunk.unreadable.items()
    ]
    found += [(chunk.numbers[at], error, chunk.original(at)) for at, error in answer.failures.items()]
    found.sort(key=lambda one: one[0])
    return [
        {"row": number, "code": error.code, "message": error.message, "original": original}
        for number, error, original in found
    ]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended the others."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
