"""Requests in a queue: how several become one batch, and how its rows find back to their callers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from headrace.domain.batch import Batch, join_columns
from headrace.domain.errors import EngineError, Internal
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column
from headrace.services.context import Inputs, RequestContext, Result, Timing
from headrace.services.weighing import Weight


class Answer(Protocol):
    """What is told how a request ended: a future, or something like it that nobody awaits."""

    def done(self) -> bool:
        """Whether it has ended."""

    def cancelled(self) -> bool:
        """Whether it ended because its caller left."""

    def set_result(self, result: Result, /) -> None:
        """End with *result*."""

    def set_exception(self, exception: BaseException, /) -> None:
        """End with an error."""


class Entry:
    """One request in a queue: its inputs, until when, and what is told of its end."""

    __slots__ = ("deadline", "future", "inputs", "key", "options", "priority", "queued_at", "trace", "weight")

    weight: Weight
    """Set for pipelines that declare a cost or padding, and for no other."""

    def __init__(
        self,
        inputs: Inputs,
        request: RequestContext,
        key: Hashable,
        future: Answer,
        now: float,
        deadline: float,
    ) -> None:
        self.inputs = inputs
        self.options = request.options
        self.priority = request.priority
        self.trace = request.trace
        self.deadline = deadline
        self.key = key
        self.future = future
        self.queued_at = now


class Gathered(Batch):
    """The rows of several entries, joined when somebody first looks at them: where the batch runs, not on the loop."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self.size = sum(entry.inputs.rows for entry in entries)
        self.failures = {}
        self.positions = None

    def __getattr__(self, name: str) -> Mapping[str, Column]:
        # Reached only while the slot `columns` is empty.
        if name != "columns":
            raise AttributeError(name)
        parts = [entry.inputs.columns for entry in self._entries]
        self.columns = {column: join_columns([part[column] for part in parts]) for column in parts[0]}
        return self.columns


def merged(entries: Sequence[Entry]) -> Batch:
    """The rows of all *entries*, one after another."""
    if len(entries) == 1:
        inputs = entries[0].inputs
        return Batch(inputs.columns, inputs.rows)
    return Gathered(entries)


def deliver(entries: Sequence[Entry], done: Batch, pipeline: Pipeline, timing: Timing, started: float) -> None:
    """Give each entry its own rows, in the order that they were merged."""
    if done.size + len(done.failures) != timing.batch_size:
        raise Internal("the batch came back with another number of rows")  # never hand out a neighbour's answer
    picks = None if not done.failures else picks_of(done)
    start = 0
    for entry in entries:
        stop = start + entry.inputs.rows
        if not entry.future.done():
            rows = range(start, stop)
            own = rows if picks is None else picks[start:stop]
            waited_s = started - entry.queued_at
            entry.future.set_result(
                Result(pipeline.ref, done.columns, own, timing, waited_s, digest=pipeline.digest, rows=rows)
            )
        start = stop


def picks_of(batch: Batch) -> list[int | EngineError]:
    """For each original row the row of *batch* that it became, or its error."""
    picks: list[int | EngineError] = [Internal("the row was lost")] * (batch.size + len(batch.failures))
    for row, position in enumerate(batch.positions or range(batch.size)):
        picks[position] = row
    for position, error in batch.failures.items():
        picks[position] = error
    return picks


def fail(entries: Sequence[Entry], error: BaseException) -> None:
    """Tell everybody who still waits what became of the batch."""
    meaning = error if isinstance(error, EngineError) else Internal("the batch could not be run")
    if meaning is not error:
        meaning.__cause__ = error
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(meaning)
