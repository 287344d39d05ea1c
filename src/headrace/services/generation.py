"""One answer in chunks: from the generator of a model, through the postprocessing, to whoever asked."""

from __future__ import annotations

import asyncio
import threading
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
from headrace.services.model_turns import ModelTurns

Chunks = Iterator[Mapping[str, Column]] | AsyncIterator[Mapping[str, Column]]

_END: Final = object()


class _Work:
    """A call for a thread, which is either begun there or taken back, and never both."""

    __slots__ = ("_args", "_function", "_taken")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._taken = threading.Lock()

    def __call__(self) -> Any:
        return self._function(*self._args) if self.take() else None

    def take(self) -> bool:
        """Decide what becomes of it; False if that is decided already."""
        return self._taken.acquire(blocking=False)


class Generation:
    """Generates one answer. `close` must be awaited whichever way it ends: a thread may still be in the model.

    With *turns*, a thread enters the model only when it is this answer's turn.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        model: GenerativeModel,
        executor: Executor,
        request: RequestContext,
        turns: ModelTurns | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._executor = executor
        self._turns = turns
        self._context = Context(request.options, deadline=request.deadline, map=executor.map)
        self._chunks: Chunks | None = None
        self._work: _Work | None = None
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
            self._chunks = await self._enter(self._model.generate, given, self._context.deadline)
            while (chunk := await self._next(self._chunks)) is not _END:
                answer = await self._call(self._completed, ready, chunk)
                _raise_failures(answer)
                yield next(answer.rows())
            self._chunks = None  # it has ended: nothing is left to close
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
            return await self._enter(next, chunks, _END)
        within = asyncio.timeout(self._remaining_s())
        try:
            async with within:
                return await self._timed(anext(chunks, _END))
        except TimeoutError:
            if within.expired() or self._context.late():
                raise _late() from None
            raise

    async def _enter(self, function: Callable[..., Any], *args: Any) -> Any:
        """`_call` for what goes into the model: in turn, which lasts until the thread is out of it again."""
        if self._turns is None:
            return await self._timed(self._call(function, *args))
        try:
            async with asyncio.timeout(self._remaining_s()):
                await self._turns.enter()
        except TimeoutError:
            raise _late() from None
        return await self._timed(self._call(function, *args, ended=self._turns.leave))

    async def _call(self, function: Callable[..., Any], *args: Any, ended: Callable[[], None] | None = None) -> Any:
        """Run *function* in a thread; returns or raises when it is done or the time is over, and leaves it running.

        *ended* is called when the thread is out of it.
        """
        self._work = _Work(function, args)
        self._working = self._executor.call(self._work)
        if ended is not None:
            self._working.add_done_callback(lambda _: ended())
        await asyncio.wait([self._working], timeout=self._remaining_s())
        # A timer may fire a moment before its time: what is not done now is late, whatever the clock says.
        if not self._working.done() or self._context.late():
            raise _late()
        return self._working.result()

    def _remaining_s(self) -> float | None:
        deadline = self._context.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    async def close(self) -> None:
        """Wait for the thread that is in the model, if one is, and end the model's generator."""
        chunks = self._chunks
        if self._work is not None and self._working is not None:
            if self._work.take():  # no thread has begun it, and nobody waits for it any more
                self._working.cancel()
            made = await _outcome(self._working)
            if chunks is None and isinstance(made, (Iterator, AsyncIterator)):
                chunks = made  # it came into being only after its caller had left
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
        elif isinstance(chunks, Generator):
            await self._end(chunks)

    async def _end(self, chunks: Generator[Any, Any, Any]) -> None:
        if (turns := self._turns) is None:
            await self._executor.call(chunks.close)
            return
        await turns.enter()
        closing = self._executor.call(chunks.close)
        # Not cancelled with us: the turn lasts until the thread is out of the model.
        closing.add_done_callback(lambda _: turns.leave())
        await asyncio.shield(closing)


async def _outcome(working: asyncio.Future[Any]) -> Any:
    """What a call comes to; None if it raised or never began."""
    await asyncio.wait([working])
    return None if working.cancelled() or working.exception() else working.result()


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed while the answer was generated")


def _raise_failures(batch: Batch) -> None:
    for error in batch.failures.values():
        raise error
