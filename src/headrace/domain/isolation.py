"""How one bad row is found and put aside: halves are tried until the offender stands alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from math import floor, log2
from operator import itemgetter
from typing import Final

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

SINGLY: Final = 64
"""So many rows of one request are tried alone at most, when a search among them has not cleared them."""


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
    requests: Callable[[], Sequence[int]] | None = None,
    late: Callable[[], bool] = lambda: False,
) -> Batch:
    """Run *run* on *batch*; when it raises for the whole batch, find the rows that make it raise and drop them.

    Finding one bad row among n costs at most 2*log2(n)+2 further calls. When they are used up, the rows not yet
    cleared fail with the error of their part. Where *requests* tells how many rows each request has that shares the
    batch, none suffers from another: each gets such a search for its own rows, and the first `SINGLY` of those that
    are left are tried alone. Parts that run out of memory are halved as often as it takes, and *cap* learns how many
    rows fitted; a batch beyond it is run in parts from the start. Nothing is tried any more once it is *late*.

    Unless *run* is *pure* it gets copies of the values, so that a half-done attempt leaves no trace, and neither does
    a step that writes into what the caller sent.
    """
    if cap is not None and cap.rows is not None:
        return _within(cap, batch, _Search(run, what, batch, pure, late), requests)
    try:
        return run(batch if pure else batch.copy())
    except Exception as error:
        failure, memory = as_engine_error(error, what), out_of_memory(error)
        let_go((failure,))  # it stays in this frame, which its trace would hold
    if batch.size == 1 or isinstance(failure, INDIVISIBLE):
        if memory and cap is not None:
            cap.ran_out(1, 1, 0)
        return batch.without(dict.fromkeys(range(batch.size), failure))
    search = _Search(run, what, batch, pure, late)
    search.halve(0, batch.size, failure, memory)
    return search.end(cap, requests)


def _within(cap: MemoryCap, batch: Batch, search: _Search, requests: Callable[[], Sequence[int]] | None) -> Batch:
    """The same in parts of as many rows as are known to fit."""
    rows = cap.rows or batch.size
    for start in range(0, batch.size, rows):
        search.part(start, min(start + rows, batch.size))
    return search.end(cap, requests)


class _Search:
    """The parts of one batch tried so far, within a number of calls."""

    def __init__(
        self, run: Callable[[Batch], Batch], what: str, batch: Batch, pure: bool, late: Callable[[], bool]
    ) -> None:
        self._run = run
        self._what = what
        self._batch = batch
        self._pure = pure
        self._late = late
        self._calls = extra_calls(batch.size)
        self._short: list[int] = []
        """How many rows each call had that ran out of memory."""
        self._fitted = 0
        self._done: list[tuple[int, Batch]] = []
        self._errors: dict[int, EngineError] = {}
        self._left: list[tuple[int, int, EngineError]] = []
        """The rows, first and last, that were not cleared before the calls were used up."""

    def halve(self, start: int, stop: int, failure: EngineError, memory: bool) -> None:
        """Try both halves of a part that failed; halves of one that was too large cost nothing of the budget."""
        if memory:
            self._short.append(stop - start)
        half = start + (stop - start) // 2
        for first, last in ((start, half), (half, stop)):
            if self._calls > 0 or memory:
                self._calls -= not memory
                self.part(first, last)
            elif self._left and self._left[-1][1] == first:
                self._left[-1] = (self._left[-1][0], last, failure)
            else:
                self._left.append((first, last, failure))

    def part(self, start: int, stop: int) -> None:
        """Try the rows from *start* to *stop*, and halves of them when they fail."""
        if self._late():
            failure: EngineError = DeadlineExceeded(f"the deadline passed while {self._what} was tried row by row")
            self._errors.update(dict.fromkeys(range(start, stop), failure))
            return
        part = self._batch.take(start, stop)
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
        self.halve(start, stop, failure, memory)

    def end(self, cap: MemoryCap | None, requests: Callable[[], Sequence[int]] | None) -> Batch:
        """Settle what is left, and let *cap* know; the surviving rows in order."""
        left, self._left = self._left, []
        if left and requests is not None:
            for first, last in _split(left, _ends(self._batch, requests())):
                self._settle(first, last)
        else:
            self._fail_alike(left)
        self._tell(cap)
        return self._merged()

    def _settle(self, start: int, stop: int) -> None:
        """Search rows that are left of one request, as if they had come alone."""
        self._calls = extra_calls(stop - start)
        self.part(start, stop)
        left, self._left = self._left, []
        self._fail_alike([self._singly(*part) for part in left])

    def _singly(self, start: int, stop: int, failure: EngineError) -> tuple[int, int, EngineError]:
        """Try the first rows alone; those that were not tried after all, and what they fail with."""
        end = min(stop, start + SINGLY)
        for row in range(start, end):
            self.part(row, row + 1)
            if isinstance(error := self._errors.get(row), INDIVISIBLE):  # it says nothing about a row
                return row + 1, stop, error
        return end, stop, failure

    def _fail_alike(self, parts: Sequence[tuple[int, int, EngineError]]) -> None:
        for first, last, failure in parts:
            if first < last:
                failure.alone = isinstance(failure, INDIVISIBLE)
                self._errors.update(dict.fromkeys(range(first, last), failure))

    def _tell(self, cap: MemoryCap | None) -> None:
        if cap is not None and self._short:
            cap.ran_out(len(self._short), min(self._short), self._fitted)
        elif cap is not None and cap.rows is not None:
            cap.fits(self._fitted)

    def _merged(self) -> Batch:
        """The surviving rows in order, with the columns that their parts came back with."""
        batch = self._batch
        self._done.sort(key=itemgetter(0))  # rows that were left come later than those behind them
        for start, part in self._done:
            self._errors.update({start + row: error for row, error in part.failures.items()})
        alive = [Batch(part.columns, part.size) for _, part in self._done if part.size]
        if not alive:
            return batch.without(self._errors)
        columns = Batch.concat(alive).columns
        return batch.followed_by(Batch(columns, batch.size - len(self._errors), failures=self._errors))


def _ends(batch: Batch, sizes: Sequence[int]) -> list[int]:
    """Where the rows of each request end in *batch*, which may have lost some."""
    ends = list(accumulate(sizes))
    return ends if batch.positions is None else [bisect_left(batch.positions, end) for end in ends]


def _split(parts: Sequence[tuple[int, int, EngineError]], ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """*parts* cut at *ends*, so that each belongs to one request."""
    for first, last, _ in parts:
        yield from pairwise([first, *(end for end in ends if first < end < last), last])
