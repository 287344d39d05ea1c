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
    ProcessDied,
)
from headrace.domain.memory import MemoryCap, out_of_memory
from headrace.domain.step import as_engine_error
from headrace.domain.traces import let_go

INDIVISIBLE = (DependencyFailure, DeadlineExceeded, NotReady, Overloaded, ProcessDied)
"""Failures that say nothing about a row: trying again in halves would only repeat them."""


def extra_calls(size: int) -> int:
    """How many calls beyond the first one a batch of *size* rows may cost: at most 2*log2(n) + 2."""
    return floor(2 * log2(size) + 2) if size > 1 else 0


def isolate(
    run: Callable[[Batch], Batch],
    batch: Batch,
    what: str,
    *,
    pure: bool = False,
    cap: MemoryCap | None = None,
    strangers: bool = False,
) -> Batch:
    """Run *run* on *batch*; when it raises for the whole batch, find the rows that make it raise and drop them.

    Finding one bad row among n costs at most 2*log2(n)+2 further calls. When they are used up, the rows not yet
    cleared fail with the error of their part; where rows are of *strangers*, who must not suffer from each other, each
    of them is tried alone. Parts that run out of memory are halved as often as it takes, and *cap*
    learns how many rows fitted; a batch beyond it is run in parts from the start. Unless *run* is *pure* it gets
    copies of the values, so that a half-done attempt leaves no trace, and neither does a step that writes into what
    the caller sent.
    """
    if cap is not None and cap.rows is not None:
        return _within(cap, batch, _Search(run, what, extra_calls(batch.size), pure, strangers))
    try:
        return run(batch if pure else batch.copy())
    except Exception as error:
        failure, memory = as_engine_error(error, what), out_of_memory(error)
        let_go((failure,))  # it stays in this frame, which its trace would hold
    if batch.size == 1 or isinstance(failure, INDIVISIBLE):
        if memory and cap is not None:
            cap.ran_out(1, 1, 0)
        return batch.without(dict.fromkeys(range(batch.size), failure))
    search = _Search(run, what, extra_calls(batch.size), pure, strangers)
    search.halve(batch, 0, batch.size, failure, memory)
    search.tell(cap)
    return search.merged(batch)


def _within(cap: MemoryCap, batch: Batch, search: _Search) -> Batch:
    """The same in parts of as many rows as are known to fit."""
    rows = cap.rows or batch.size
    for start in range(0, batch.size, rows):
        search.part(batch, start, min(start + rows, batch.size))
    search.tell(cap)
    return search.merged(batch)


class _Search:
    """The parts of one batch tried so far, within a number of calls."""

    def __init__(self, run: Callable[[Batch], Batch], what: str, calls: int, pure: bool, strangers: bool) -> None:
        self._run = run
        self._what = what
        self._calls = calls
        self._pure = pure
        self._strangers = strangers
        self._short: list[int] = []
        """How many rows each call had that ran out of memory."""
        self._fitted = 0
        self._done: list[tuple[int, Batch]] = []
        self._errors: dict[int, EngineError] = {}

    def halve(self, batch: Batch, start: int, stop: int, failure: EngineError, memory: bool) -> None:
        """Try both halves of a part that failed; halves of one that was too large cost nothing of the budget."""
        if memory:
            self._short.append(stop - start)
        half = start + (stop - start) // 2
        for first, last in ((start, half), (half, stop)):
            if self._calls > 0 or memory:
                self._calls -= not memory
                self.part(batch, first, last)
            elif self._strangers:
                self._singly(batch, first, last)
            else:
                failure.alone = False
                self._errors.update(dict.fromkeys(range(first, last), failure))

    def part(self, batch: Batch, start: int, stop: int) -> None:
        """Try the rows from *start* to *stop*, and halves of them when they fail."""
        part = batch.take(start, stop)
        try:
            self._done.append((start, self._run(part if self._pure else part.copy())))
            self._fitted = max(self._fitted, stop - start)
            return
        except Exception as error:
            failure, memory = as_engine_error(error, self._what), out_of_memory(error)
            let_go((failure,))
        if stop - start == 1 or isinstance(failure, INDIVISIBLE):
            if memory:
                self._short.append(stop - start)
            self._errors.update(dict.fromkeys(range(start, stop), failure))
            return
        self.halve(batch, start, stop, failure, memory)

    def _singly(self, batch: Batch, start: int, stop: int) -> None:
        """Try each row from *start* to *stop* alone, until one fails in a way that says nothing about it."""
        for row in range(start, stop):
            self.part(batch, row, row + 1)
            if isinstance(failure := self._errors.get(row), INDIVISIBLE):
                self._errors.update(dict.fromkeys(range(row + 1, stop), failure))
                return

    def tell(self, cap: MemoryCap | None) -> None:
        """Let *cap* know what fitted and what did not."""
        if cap is not None and self._short:
            cap.ran_out(len(self._short), min(self._short), self._fitted)
        elif cap is not None and cap.rows is not None:
            cap.fits(self._fitted)

    def merged(self, batch: Batch) -> Batch:
        """The surviving rows of *batch* in order, with the columns that their parts came back with."""
        for start, part in self._done:
            self._errors.update({start + row: error for row, error in part.failures.items()})
        alive = [Batch(part.columns, part.size) for _, part in self._done if part.size]
        if not alive:
            return batch.without(self._errors)
        columns = Batch.concat(alive).columns
        return batch.followed_by(Batch(columns, batch.size - len(self._errors), failures=self._errors))
