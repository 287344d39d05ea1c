"""How one bad row is found and put aside: halves are tried until the offender stands alone."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log2

from headrace.domain.batch import Batch
from headrace.domain.errors import (
    DeadlineExceeded,
    DependencyFailure,
    EngineError,
    NotReady,
    Overloaded,
)
from headrace.domain.step import as_engine_error

INDIVISIBLE = (DependencyFailure, DeadlineExceeded, NotReady, Overloaded)
"""Failures that say nothing about a row: trying again in halves would only repeat them."""


def extra_calls(size: int) -> int:
    """How many calls beyond the first one a batch of *size* rows may cost: at most 2*log2(n) + 2."""
    return floor(2 * log2(size) + 2) if size > 1 else 0


def isolate(run: Callable[[Batch], Batch], batch: Batch, what: str, *, pure: bool = False) -> Batch:
    """Run *run* on *batch*; when it raises for the whole batch, find the rows that make it raise and drop them.

    Finding one bad row among n costs at most 2*log2(n)+2 further calls; when they are used up, the rows not yet
    cleared fail with the error of their part. Unless *run* is *pure* it gets copies of the values wherever a
    retry could follow, so that a half-done attempt leaves no trace.
    """
    try:
        return run(batch if pure or batch.size == 1 else batch.copy())
    except Exception as error:
        failure = as_engine_error(error, what)
    if batch.size == 1 or isinstance(failure, INDIVISIBLE):
        return batch.without(dict.fromkeys(range(batch.size), failure))
    search = _Search(run, what, extra_calls(batch.size), pure)
    half = batch.size // 2
    search.try_part(batch, 0, half, failure)
    search.try_part(batch, half, batch.size, failure)
    return search.merged(batch)


class _Search:
    """The parts of one batch tried so far, within a number of calls."""

    def __init__(self, run: Callable[[Batch], Batch], what: str, calls: int, pure: bool) -> None:
        self._run = run
        self._what = what
        self._calls = calls
        self._pure = pure
        self._done: list[tuple[int, Batch]] = []
        self._errors: dict[int, EngineError] = {}

    def try_part(self, batch: Batch, start: int, stop: int, failure: EngineError) -> None:
        if self._calls == 0:
            self._errors.update(dict.fromkeys(range(start, stop), failure))
            return
        self._calls -= 1
        part = batch.take(start, stop)
        try:
            self._done.append((start, self._run(part if self._pure else part.copy())))
            return
        except Exception as error:
            failure = as_engine_error(error, self._what)
        if stop - start == 1 or isinstance(failure, INDIVISIBLE):
            self._errors.update(dict.fromkeys(range(start, stop), failure))
            return
        half = start + (stop - start) // 2
        self.try_part(batch, start, half, failure)
        self.try_part(batch, half, stop, failure)

    def merged(self, batch: Batch) -> Batch:
        """The surviving rows of *batch* in order, with the columns that their parts came back with."""
        for start, part in self._done:
            self._errors.update({start + row: error for row, error in part.failures.items()})
        left = batch.without(self._errors)
        if left.size == 0:
            return left
        columns = Batch.concat([Batch(part.columns, part.size) for _, part in self._done if part.size]).columns
        return Batch(columns, left.size, failures=left.failures, positions=left.positions)
