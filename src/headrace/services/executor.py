"""Runs synchronous code off the loop, in threads of its own: the only bridge between the two colours."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from headrace.services.threads import Threads

T = TypeVar("T")

SPREAD_AFTER_S = 200e-6
"""A row that takes longer than this is worth a trip to another thread (a hop costs some 50 us)."""


HAND_OVER_S = 0.0005
"""How long the loop waits at most for a free thread to begin."""


class Executor:
    """A fixed set of worker threads. A call that was started runs to its end, whoever stops waiting for it."""

    def __init__(self, threads: int | None = None) -> None:
        """*threads* defaults to the number of processors, and at least two."""
        self.threads = threads or max(2, os.cpu_count() or 1)
        self._open()

    def _open(self) -> None:
        self._batches = Threads("headrace-batch", self.threads)
        self._rows = Threads("headrace-rows", self.threads)

    def call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run ``function(*args)`` in a worker thread.

        Cancelling the future does not stop the thread: whoever holds a resource for it must shield the future and
        wait for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> Callable[[], None]:
            try:
                return partial(post, loop, _resolve, future, function(*args))
            except BaseException as error:
                return partial(post, loop, _fail, future, error)

        self.start(work)
        return future

    def start(self, function: Callable[..., Callable[[], None]], *args: Any) -> None:
        """Run ``function(*args)``, which must not raise, in a worker thread; nobody waits for it.

        It returns what tells of its end, which is called when the thread counts as free.
        """
        begun = threading.Lock()
        begun.acquire()

        def work() -> Callable[[], None]:
            begun.release()
            return function(*args)

        if self._batches.start(work):
            # A loop that goes on working would keep the interpreter from the thread for as long as it is busy, and
            # the model idle: a thread that is free gets it now, and gives it back when it enters the model.
            begun.acquire(timeout=HAND_OVER_S)

    @property
    def crowded(self) -> bool:
        """Whether a call waits for a thread; any thread may ask."""
        return self._batches.crowded

    def map(self, function: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
        """Apply *function* to each of *items*, in order, by several threads when one item takes long enough.

        Called from a worker thread, which takes its share of the work.
        """
        results: list[Any] = [None] * len(items)
        started = time.perf_counter()
        if items:
            results[0] = function(items[0])
        if len(items) < 3 or time.perf_counter() - started < SPREAD_AFTER_S:
            results[1:] = [function(item) for item in items[1:]]
            return results
        share = _Share(function, items, results)
        helpers = min(self.threads - 1, len(items) - 2)
        for _ in range(helpers):
            self._rows.start(share.work)
        share.work()
        share.finished.wait()
        if share.error is not None:
            raise share.error
        return results

    def close(self, wait_s: float = 5.0) -> None:
        """Let the threads end after the work that they have; waits at most *wait_s* for that, and blocks."""
        # What comes later (a model that closes after its last batch) gets threads of its own.
        pools = self._batches, self._rows
        self._open()
        until = time.monotonic() + wait_s
        for pool in pools:
            pool.end()
        for pool in pools:
            pool.join(until)


class _Share:
    """Items that several threads take from until none is left; the first one is done already."""

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any], results: list[Any]) -> None:
        self._function = function
        self._items = items
        self._results = results
        self._next = 1
        self._left = len(items) - 1
        self._lock = threading.Lock()
        self.finished = threading.Event()
        self.error: BaseException | None = None

    def work(self) -> None:
        """Take items until there are no more; late helpers find nothing and leave."""
        while True:
            with self._lock:
                index = self._next
                self._next += 1
            if index >= len(self._items):
                return
            try:
                self._results[index] = self._function(self._items[index])
            except BaseException as error:
                self.error = error
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self.finished.set()


def post(loop: asyncio.AbstractEventLoop, deliver: Callable[..., None], *args: Any) -> None:
    """Call ``deliver(*args)`` on *loop*, from another thread."""
    try:
        loop.call_soon_threadsafe(deliver, *args)
    except RuntimeError:
        return  # the loop closed while the thread worked: nobody is left to tell


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if future.done():
        return
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        # What a model's thread raises must not reach the loop as its own: SystemExit would end the server, and a
        # CancelledError would look like a caller that left.
        error = RuntimeError(f"{type(error).__name__} from a worker: {error}")
    future.set_exception(error)
