"""Runs synchronous code off the loop, in threads of its own: the only bridge between the two colours."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

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
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._rows: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._under_way = 0
        self._lock = threading.Lock()

    def call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run ``function(*args)`` in a worker thread.

        Cancelling the future does not stop the thread: whoever holds a resource for it must shield the future and
        wait for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        begun = threading.Lock()
        begun.acquire()

        def work() -> None:
            begun.release()
            try:
                result = function(*args)
            except BaseException as error:
                self._ended()
                _post(loop, _fail, future, error)
            else:
                self._ended()
                _post(loop, _resolve, future, result)

        with self._lock:
            self._start()
            free = self._under_way < self.threads
            self._under_way += 1
            self._jobs.put(work)
        if free:
            # A loop that goes on working would keep the interpreter from the thread for as long as it is busy, and
            # the model idle: a thread that is free gets it now, and gives it back when it enters the model.
            begun.acquire(timeout=HAND_OVER_S)
        return future

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
        with self._lock:
            self._start()
            for _ in range(helpers):
                self._rows.put(share.work)
        share.work()
        share.finished.wait()
        if share.error is not None:
            raise share.error
        return results

    def close(self, wait_s: float = 5.0) -> None:
        """Let the threads end after the work that they have; waits at most *wait_s* for that, and blocks."""
        with self._lock:
            workers, self._workers = self._workers, []
            for _ in range(len(workers) // 2):
                self._jobs.put(None)
                self._rows.put(None)
            # What comes later (a model that closes after its last batch) starts threads with queues of their own,
            # and must not take the places of those that are to end.
            self._jobs, self._rows = queue.SimpleQueue(), queue.SimpleQueue()
        until = time.monotonic() + wait_s
        for worker in workers:
            worker.join(timeout=max(0.0, until - time.monotonic()))

    def _ended(self) -> None:
        with self._lock:
            self._under_way -= 1

    def _start(self) -> None:
        if self._workers:
            return
        for number in range(self.threads):
            self._workers += [
                threading.Thread(target=_serve, args=(self._jobs,), name=f"headrace-batch-{number}", daemon=True),
                threading.Thread(target=_serve, args=(self._rows,), name=f"headrace-rows-{number}", daemon=True),
            ]
        for worker in self._workers:
            worker.start()


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


def _serve(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _post(loop: asyncio.AbstractEventLoop, deliver: Callable[..., None], *args: Any) -> None:
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
