"""One batch from the moment it was picked until its answers are handed out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import Context, Map
from headrace.services.batch_run import run_here
from headrace.services.context import Timing
from headrace.services.entries import Entry, deliver, merged
from headrace.services.measures import Measures
from headrace.services.witness import Witness


class Running:
    """A batch of *entries* under way. *gave_way* says that the next batch may run: its own work is done."""

    __slots__ = ("batch", "context", "entries", "gave_way", "spans", "timing")

    def __init__(self, entries: Sequence[Entry], pipeline: Pipeline, map_: Map, witness: Witness | None) -> None:
        latest = max(entry.deadline for entry in entries)  # entries expire singly
        self.entries = entries
        self.timing = Timing(started=time.monotonic())
        self.context = Context(entries[0].options, deadline=latest, map=map_)
        self.batch = merged(entries)
        self.gave_way = False
        self.spans = None if witness is None else witness.batch(entries, pipeline)

    def through(self, pipeline: Pipeline) -> Batch:
        """Take the batch through a *pipeline* that is synchronous, here and now."""
        if self.spans is None:
            return run_here(pipeline, self.batch, self.context)
        return self.spans.within(self.context, run_here, pipeline, self.batch, self.context)

    def hand_out(self, done: Batch, pipeline: Pipeline, measures: Measures) -> None:
        """Give each request its rows of *done*, and tell what they cost."""
        timing = self.timing
        timing.batch_size = self.batch.size
        timing.steps, timing.tokens = self.context.timings, self.context.tokens
        measures.price(pipeline.ref, "request", timing, pipeline.device)
        deliver(self.entries, done, pipeline, timing, timing.started)
