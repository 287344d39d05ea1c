"""How many rows of a pipeline fit in memory: lowered when a batch did not fit, raised again step by step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

PROBE_AFTER_S: Final = 10.0
"""How long a lowered cap stands before a larger batch is tried; doubled every time that it still does not fit."""
PROBE_AT_MOST_S: Final = 600.0

NAMES: Final = ("OutOfMemoryError", "ResourceExhaustedError")
"""Exceptions of frameworks, by the name of their type: torch and CuPy, TensorFlow."""
WORDS: Final = ("failed to allocate", "out of memory", "resource_exhausted", "bad_alloc", "bad allocation",
                "alloc_failed")  # fmt: skip
"""What frameworks say that have no type of their own for it: ONNX Runtime, XLA, CUDA and its libraries."""
LONGEST: Final = 2000
DEEPEST: Final = 8


def out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may work where this one did not: *error*, or what led to it, says that memory ran out."""
    cause: BaseException | None = error
    for _ in range(DEEPEST):
        if cause is None:
            break
        if isinstance(cause, MemoryError) or type(cause).__name__ in NAMES or _says_so(cause):
            return True
        cause = cause.__cause__
    return False


def _says_so(error: BaseException) -> bool:
    """Only of errors that frameworks raise: others may quote what a caller sent."""
    if not isinstance(error, RuntimeError) and not type(error).__module__.startswith("onnxruntime"):
        return False
    text = str(error)[:LONGEST].lower()
    return any(word in text for word in WORDS)


class MemoryCap:
    """The most rows that one call may get; None while every batch has fitted. Used from several threads.

    Time runs by *clock*, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows: int | None = None
        self.events = 0
        """How many calls ran out of memory."""
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = self._good = 0
        self._wait_s = PROBE_AFTER_S
        self._probe_at = 0.0

    def ran_out(self, calls: int, failed: int, fitted: int) -> None:
        """*calls* ran out of memory, the smallest of them with *failed* rows; the largest that did not had *fitted*.

        A row that does not fit alone says nothing about the size of a batch, unless none of its neighbours did.
        """
        with self._lock:
            self.events += calls
            if failed <= 1 and (fitted or calls == 1):
                return
            known = self._good if self._good < failed else 0
            again = self.rows is not None
            self.rows = max(1, min(max(fitted, known), failed - 1))
            self._good = self.rows
            self._failed = max(self._failed, failed)
            self._wait_s = min(PROBE_AT_MOST_S, self._wait_s * 2) if again else PROBE_AFTER_S
            self._probe_at = self._clock() + self._wait_s

    def fits(self, rows: int) -> None:
        """A call with *rows* rows fitted: after a while with full batches the cap rises by a quarter, then goes."""
        with self._lock:
            if self.rows is None or rows < self.rows or self._clock() < self._probe_at:
                return
            self._probe_at = self._clock() + self._wait_s
            self._good = self.rows
            if self.rows >= self._failed:
                self.rows, self._failed, self._good = None, 0, 0
                return
            self.rows = min(self._failed, self.rows + max(1, self.rows // 4))
