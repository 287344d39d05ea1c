"""Takes the batches of one pipeline through it: in place, in threads one after another, or as tasks that may wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.domain.traces import let_go
from headrace.services.batch_run import RunBatch, in_place, run_batch
from headrace.services.entries import Entry
from headrace.services.executor import Executor, post
from headrace.services.gate import Gate
from headrace.services.running import Running

Ended = Callable[[Running, Batch | BaseException | None], None]
"""Told on the loop what became of a batch; None if nobody wanted it any more."""


class Relay:
    """The batches of one pipeline that run.

    While one runs in a thread, the next may be staged: the thread that ends begins it at once, and hands its place at
    the gate on. Were the loop to begin it, the model would be idle until the interpreter went from the thread to the
    loop and back, which on a busy loop takes as long as some ten rows of a middling model.
    """

    def __init__(self, pipeline: Pipeline, executor: Executor, gate: Gate, run: RunBatch, ended: Ended) -> None:
        self.in_threads = pipeline.synchronous and run is run_batch
        """Whether a batch runs in one thread from its beginning to its end."""
        self.over: deque[Running] = deque()
        """Batches whose work is done, of which the loop has not been told yet."""
        self._staged: deque[Running] = deque(maxlen=1)
        self._pipeline = pipeline
        self._executor = executor
        self._gate = gate
        self._run_batch = run
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()

    def here(self, running: Running) -> None:
        """Run a batch in place, and hand it out; the pipeline is synchronous."""
        # What runs in place never suspends: one step of the coroutine is all of it.
        try:
            self._waiting(running, in_place).send(None)
        except StopIteration:
            return
        raise AssertionError("an inline batch must not wait")

    def start(self, running: Running) -> None:
        """Run a batch, which owns a place at the gate."""
        if not self.in_threads:
            task = asyncio.get_running_loop().create_task(self._waiting(running, self._executor.call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        self._begin(running, running.entries)
        # A task would begin when the loop has read what is there to read, and the thread be idle until then.
        self._executor.start(self._run, asyncio.get_running_loop(), running)

    def stage(self, running: Running) -> None:
        """Let the thread that ends next run this batch. None may end: then `take_back` finds it still here."""
        self._staged.append(running)

    def take_back(self) -> Running | None:
        """The staged batch, which nobody will begin any more; None if there is none, or it has begun."""
        try:
            return self._staged.popleft()
        except IndexError:
            return None

    async def _waiting(self, running: Running, call: Callable[..., Any]) -> None:
        """A batch of a pipeline that may wait, its synchronous parts where *call* runs them."""
        done: Batch | BaseException
        try:
            self._begin(running, running.entries)
            around = call if running.spans is None else running.spans.around(call)
            done = await self._run_batch(self._pipeline, running.batch, running.context, around)
        except BaseException as error:
            done = error
        self._ended(running, done)
        if isinstance(done, BaseException) and not isinstance(done, Exception):
            raise done  # the task is being cancelled, or a remote model leaked its own cancellation

    def _run(self, loop: asyncio.AbstractEventLoop, running: Running) -> Callable[[], None]:
        while True:
            tell, following = self._one(loop, running)
            if following is None:
                return tell
            self._prepare(following)
            tell()
            running = following
            del tell  # it holds the answers of the batch before

    def _one(self, loop: asyncio.AbstractEventLoop, running: Running) -> tuple[Callable[[], None], Running | None]:
        """Run a batch; returns what tells the loop of it, and the batch that this thread runs next."""
        done = self._through(running)
        others_wait = self._gate.crowded or self._executor.crowded
        following = None if others_wait else self.take_back()
        running.gave_way = following is not None
        self.over.append(running)
        return partial(post, loop, self._ended, running, done), following

    def _prepare(self, running: Running) -> None:
        """Make the batch that runs next as ready as can be, before the loop is told of the one before.

        Once it is told, it wants the interpreter, and a thread that has not reached its model by then waits for it.
        """
        with suppress(Exception):  # whatever it is, running the batch meets it again, and tells
            if self._begun(running):
                running.join()

    def _begun(self, running: Running) -> bool:
        """Begin a batch that was staged, unless it has begun; False if nobody wants it any more."""
        if not running.members and (waiting := running.waiting()):  # it may have been staged for long
            self._begin(running, waiting)
        return bool(running.members)

    def _begin(self, running: Running, members: Sequence[Entry]) -> None:
        running.begin(members, self._pipeline, crowded=self._gate.shared)

    def _through(self, running: Running) -> Batch | BaseException | None:
        try:
            return running.through(self._pipeline) if self._begun(running) else None
        except BaseException as error:
            let_go((error,))  # its frames hold the batch, and the batch those who are told of it
            return error
