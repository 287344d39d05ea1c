"""One answer in chunks: from the generator of a model, through the postprocessing, to whoever asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from typing import Any, Final

from headrace.domain.batch import Batch, Row
from headrace.domain.errors import DeadlineExceeded
from headrace.domain.model import GenerativeModel
from headrace.domain.model_call import accept
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import Context, as_engine_error
from headrace.domain.tensors import Column
from headrace.services.context import Inputs, RequestContext, Timing
from headrace.services.executor import Executor

Chunks = Iterator[Mapping[str, Column]] | AsyncIterator[Mapping[str, Column]]

_END: Final = object()


class Generation:
    """Generates one answer. `close` must be awaited whichever way it ends: a thread may still be in the model."""

    def __init__(self, pipeline: Pipeline, model: GenerativeModel, executor: Executor, request: RequestContext) -> None:
        self._pipeline = pipeline
        self._model = model
        self._executor = executor
        self._context = Context(request.options, deadline=request.deadline, map=executor.map)
        self._chunks: Chunks | None = None
        self._working: asyncio.Future[Any] | None = None
        self._started = time.monotonic()
        self._model_s = self._model_began = 0.0

    @property
    def timing(self) -> Timing:
        """Where the time went so far, as that of a batch of one row; who reads the chunks slowly costs nothing."""
        steps = [*self._context.timings, ("infer", "model", self._model_s, self._model_began or self._started)]
        return Timing(1, sum(seconds for _, _, seconds, _ in steps), steps, self._started)

    async def rows(self, inputs: Inputs) -> AsyncGenerator[Row]:
        """The answer to the one row of *inputs*, chunk by chunk. Raises EngineError."""
        ready = await self._call(self._pipeline.prepared, Batch(inputs.columns, inputs.rows), self._context)
        _raise_failures(ready)
        wanted = self._pipeline.model.get_input_spec()
        given = {name: ready.columns[name] for name in wanted if name in ready.columns}
        try:
            self._chunks = await self._timed(self._call(self._model.generate, given, self._context.deadline))
            while (chunk := await self._timed(self._next(self._chunks))) is not _END:
                answer = await self._call(self._completed, ready, chunk)
                _raise_failures(answer)
                yield next(answer.rows())
        except Exception as error:
            raise as_engine_error(error, "the model") from error

    def _completed(self, ready: Batch, chunk: Mapping[str, Column]) -> Batch:
        whole = accept(ready, chunk, self._pipeline.model.get_output_spec())
        return self._pipeline.completed(whole, self._context)

    async def _timed(self, work: Awaitable[Any]) -> Any:
        began = time.monotonic()
        self._model_began = self._model_began or began
        try:
            return await work
        finally:
            self._model_s += time.monotonic() - began

    async def _next(self, chunks: Chunks | None) -> Any:
        if not isinstance(chunks, AsyncIterator):
            return await self._call(next, chunks, _END)
        try:
            async with asyncio.timeout(self._remaining_s()):
                return await anext(chunks, _END)
        except TimeoutError:
            self._refuse_if_late()
            raise

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run *function* in a thread; returns or raises when it is done or the time is over, and leaves it running."""
        self._working = self._executor.call(function, *args)
        await asyncio.wait([self._working], timeout=self._remaining_s())
        self._refuse_if_late()
        return self._working.result()

    def _remaining_s(self) -> float | None:
        deadline = self._context.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _refuse_if_late(self) -> None:
        if self._context.late():
            raise DeadlineExceeded("the deadline passed while the answer was generated")

    async def close(self) -> None:
        """Wait for the thread that is in the model, if one is, and end the model's generator."""
        chunks = self._chunks
        if self._working is not None:
            await asyncio.wait([self._working])
            made = None if self._working.exception() else self._working.result()
            if chunks is None and isinstance(made, (Iterator, AsyncIterator)):
                chunks = made  # it came into being only after its caller had left
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
        elif isinstance(chunks, Generator):
            await self._executor.call(chunks.close)


def _raise_failures(batch: Batch) -> None:
    for error in batch.failures.values():
        raise error
