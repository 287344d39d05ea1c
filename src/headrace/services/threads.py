"""A fixed number of threads, of which the one that became free last works first: its memory is still in the caches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

Tell = Callable[[], object]
Job = Callable[[], Tell | None]
"""What a thread does, which must not raise; it may return what to call when the thread counts as free again."""


class Threads:
    """Jobs begin in the order in which they came. A thread starts when there is a job for it, and none is idle."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._all: list[threading.Thread] = []
        self._idle: list[SimpleQueue[Job | None]] = []
        """Where each of the idle threads takes its next job from; None ends it."""
        self._waiting: deque[Job] = deque()
        self._ending = False
        self._lock = threading.Lock()

    def start(self, job: Job) -> bool:
        """Have *job* done; whether a thread was free to begin at once."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
                return True
            if len(self._all) == self._most:
                self._waiting.append(job)
                return False
            name = f"{self._name}-{len(self._all)}"
            self._all.append(threading.Thread(target=self._work, args=(job,), name=name, daemon=True))
            self._all[-1].start()
            return True

    @property
    def crowded(self) -> bool:
        """Whether a job waits for a thread; any thread may ask."""
        return bool(self._waiting)

    def end(self) -> None:
        """Let the threads end after the jobs that they have; there must be no more jobs."""
        with self._lock:
            self._ending = True
            for own in self._idle:
                own.put(None)
            self._idle.clear()

    def join(self, until: float) -> None:
        """Wait until all have ended, or *until* of the monotonic clock."""
        for thread in self._all:
            thread.join(timeout=max(0.0, until - time.monotonic()))

    def _work(self, job: Job | None) -> None:
        own: SimpleQueue[Job | None] = SimpleQueue()
        while job is not None:
            tell = job()
            with self._lock:
                job = self._waiting.popleft() if self._waiting else None
                if free := job is None and not self._ending:
                    self._idle.append(own)
            if tell is not None:
                tell()
            del tell  # what it holds must not outlive it
            if free:
                job = own.get()
