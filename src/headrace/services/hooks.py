"""Who is told what happens here? Objects of the user that look on; what they do, or fail to do, changes nothing."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.core.logging import logger
from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError
from headrace.domain.hooks import EVENTS
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.domain.step import Context
from headrace.services.batch_run import run_batch
from headrace.services.executor import Executor

log = logger(__name__)

QUEUE: Final = 1024
"""Events that wait for one hook; what happens while it is so far behind passes it by."""
LIMIT_S: Final = 10.0
"""How long one call may take before it counts as failed and the next event is told."""


class Hook:
    """One object of the user, told its events one after the other, off the way of the requests."""

    def __init__(self, name: str, listener: object, limit_s: float = LIMIT_S) -> None:
        self.name = name
        self.failures: Counter[str] = Counter()
        self.missed = 0
        self.methods: dict[str, Callable[..., Any]] = {
            event: getattr(listener, event) for event in EVENTS if callable(getattr(listener, event, None))
        }
        self._limit_s = limit_s
        self._events: asyncio.Queue[tuple[str, tuple[Any, ...]] | None] = asyncio.Queue(QUEUE)
        self._task: asyncio.Task[None] | None = None
        self._thread = Executor(1)

    def tell(self, event: str, *told: Any) -> None:
        """Let the hook know of *event* when its turn comes; nobody waits for it."""
        if event not in self.methods:
            return
        if self._events.full():
            self.missed += 1
            return
        self._events.put_nowait((event, told))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def call(self, event: str, *told: Any) -> None:
        """Call the method for *event* and wait for it, within the limit. Whatever it raises is counted and logged."""
        method = self.methods.get(event)
        if method is None:
            return
        task = asyncio.get_running_loop().create_task(self._called(method, told))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._limit_s)
        finally:
            task.cancel()  # no effect on what is done
        if not done:
            self._failed(event, TimeoutError(f"it took longer than {self._limit_s:g} s"))
        elif (error := task.result()) is not None:
            self._failed(event, error)

    async def close(self, limit_s: float) -> None:
        """Tell what is left within *limit_s*, and let the thread end."""
        if self._task is not None:
            if not self._events.full():
                self._events.put_nowait(None)
                await asyncio.wait({self._task}, timeout=limit_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def end(self) -> None:
        """Let the thread go; one that hangs does not hold up the process."""
        self._thread.close(0)

    async def _work(self) -> None:
        while (one := await self._events.get()) is not None:
            event, told = one
            await self.call(event, *told)

    async def _called(self, method: Callable[..., Any], told: tuple[Any, ...]) -> BaseException | None:
        """What the method raised, if it did: not even a SystemExit of its own may reach the loop."""
        try:
            if inspect.iscoroutinefunction(method):
                await method(*told)
                return None
            answer = await self._thread.call(method, *told)
            if inspect.isawaitable(answer):
                await answer
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return error
        except BaseException as error:
            return error
        return None

    def _failed(self, event: str, error: BaseException) -> None:
        self.failures[event] += 1
        count = self.failures[event]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th ..: a hook that always fails must not fill the log
            trace = error if error.__traceback__ is not None else None
            reason = f"{type(error).__name__}: {error}"
            log.error("a hook failed", hook=self.name, told=event, failures=count, reason=reason, exc_info=trace)


class Hooks:
    """All hooks of a server. Its methods take microseconds; where there are no hooks nobody even calls them."""

    def __init__(self, listeners: Mapping[str, object], *, limit_s: float = LIMIT_S) -> None:
        self.hooks = [Hook(name, listener, limit_s) for name, listener in listeners.items()]
        self._told = {event: [hook for hook in self.hooks if event in hook.methods] for event in EVENTS}

    async def started(self) -> None:
        """The server is starting, and nothing is loaded yet; waits for every hook, within its limit."""
        await asyncio.gather(*(hook.call("on_startup") for hook in self.hooks))

    def pipeline_loaded(self, ref: PipelineRef) -> None:
        """A pipeline answers from now on, for the first time or with new bytes."""
        self._tell("on_pipeline_loaded", ref)

    def before_batch(self, ref: PipelineRef, size: int) -> None:
        """A batch of *size* rows begins."""
        self._tell("before_batch", ref, size)

    def after_batch(self, ref: PipelineRef, size: int, seconds: float) -> None:
        """It has come back, some of its rows with errors perhaps."""
        self._tell("after_batch", ref, size, seconds)

    async def run_batch(self, pipeline: Pipeline, batch: Batch, context: Context, call: Callable[..., Any]) -> Batch:
        """`run_batch`, with the two told around it."""
        self.before_batch(pipeline.ref, batch.size)
        started = time.monotonic()
        done = await run_batch(pipeline, batch, context, call)
        self.after_batch(pipeline.ref, batch.size, time.monotonic() - started)
        return done

    def error(self, ref: PipelineRef | None, error: EngineError) -> None:
        """A request failed, or rows of a batch of a stream or a job did; of several errors the first is told."""
        self._tell("on_error", ref, error)

    async def stopped(self, limit_s: float = LIMIT_S) -> None:
        """Everything has stopped: tell what is left, and say goodbye."""
        await asyncio.gather(*(hook.close(limit_s) for hook in self.hooks))
        await asyncio.gather(*(hook.call("on_shutdown") for hook in self.hooks))
        for hook in self.hooks:
            hook.end()

    def _tell(self, event: str, *told: Any) -> None:
        for hook in self._told[event]:
            hook.tell(event, *told)
