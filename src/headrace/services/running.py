"""One batch from the moment it was picked until its answers are handed out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import Context, Map
from headrace.services.batch_run import run_here
from headrace.services.context import Timing
from headrace.services.entries import Entry, deliver, merged
from headrace.services.measures import Measures
from headrace.services.spans import BatchTrace
from headrace.services.witness import Witness


class Running:
    """A batch of *entries*, under way once it has begun. *gave_way* says that the next batch may run, or does."""

    __slots__ = ("_map", "_witness", "batch", "context", "entries", "gave_way", "members", "spans", "timing")

    batch: Batch
    context: Context
    timing: Timing

    def __init__(self, entries: Sequence[Entry], map_: Map, witness: Witness | None) -> None:
        self.entries = entries
        self.members: Sequence[Entry] = ()
        """Those of the entries whose rows are in the batch, once it has begun."""
        self.gave_way = False
        self.spans: BatchTrace | None = None
        self._map = map_
        self._witness = witness

    def waiting(self) -> list[Entry]:
        """The entries that still want an answer; any thread may ask."""
        now = time.monotonic()
        return [entry for entry in self.entries if not entry.future.done() and now < entry.deadline]

    def departed(self) -> int:
        """How many callers left between being picked and the beginning of the batch."""
        if len(self.members) == len(self.entries):
            return 0
        return sum(entry.future.cancelled() for entry in self.entries if entry not in self.members)

    def begin(self, members: Sequence[Entry], pipeline: Pipeline, crowded: bool = False) -> None:
        """Make a batch of the rows of *members*."""
        # Entries expire singly.
        latest = members[0].deadline if len(members) == 1 else max(entry.deadline for entry in members)
        self.members = members
        self.timing = Timing(started=time.monotonic())
        self.context = Context(
            members[0].options, deadline=latest, map=self._map, crowded=crowded, requests=partial(_sizes, members)
        )
        self.batch = merged(members)
        if self._witness is not None:
            self.spans = self._witness.batch(members, pipeline)

    def join(self) -> None:
        """Bring the rows of all members together now; `through` would do so."""
        _ = self.batch.columns

    def through(self, pipeline: Pipeline) -> Batch:
        """Take the batch through a *pipeline* that is synchronous, here and now."""
        if self.spans is None:
            return run_here(pipeline, self.batch, self.context)
        return self.spans.within(run_here, pipeline, self.batch, self.context)

    def hand_out(self, done: Batch, pipeline: Pipeline, measures: Measures) -> None:
        """Give each request its rows of *done*, and tell what they cost."""
        timing = self.timing
        timing.batch_size = self.batch.size
        timing.steps, timing.tokens = self.context.timings, self.context.tokens
        measures.price(pipeline.ref, "request", timing, pipeline.device)
        deliver(self.members, done, pipeline, timing, timing.started)


def _sizes(members: Sequence[Entry]) -> list[int]:
    """How many rows each has. No method: a batch that held itself would stay until the collector comes by."""
    return [entry.inputs.rows for entry in members]
