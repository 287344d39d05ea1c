"""How many batches were there of which size, and how long did their phases take?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from headrace.domain.registry import PipelineRef
from headrace.domain.step import Took
from headrace.services.context import Timing
from headrace.services.histogram import SECONDS, Histogram

ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
LARGEST_APART: Final = 1024
"""Rows up to which every size of batch is counted apart; a request may bring any number."""
K = TypeVar("K")
TOGETHER: Final = 32
"""So many batches are counted at a time: what is done but once a batch is done with cold caches."""


class Noted(NamedTuple):
    """What is to be counted of a batch, which ended at *ended_at* seconds since the epoch."""

    ref: PipelineRef
    mode: str
    size: int
    waited_s: float
    steps: Sequence[Took]
    ended_at: float


@dataclass(slots=True)
class SizedBatches:
    """The batches of one size: how many there were, and the seconds that each phase took altogether."""

    count: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class BatchCounts:
    """Sizes and phases by pipeline and mode; what there is `by_size` by pipeline alone.

    *last_at* is in seconds since the epoch. What `note` is told is counted by `settled`, or once there is enough of it.
    """

    def __init__(self) -> None:
        self.sizes: dict[tuple[PipelineRef, str], Histogram] = {}
        self.phases: dict[tuple[PipelineRef, str, str], Histogram] = {}
        self.by_size: dict[PipelineRef, dict[int, SizedBatches]] = {}
        self.last_at: dict[PipelineRef, float] = {}
        self._noted: list[Noted] = []

    def note(self, ref: PipelineRef, mode: str, timing: Timing, oldest_wait_s: float) -> None:
        """A batch has ended, whose oldest request had waited for *oldest_wait_s*."""
        self._noted.append(Noted(ref, mode, timing.batch_size, oldest_wait_s, timing.steps, time.time()))
        if len(self._noted) >= TOGETHER:
            self.settled()

    def settled(self) -> BatchCounts:
        """These counts with all that was noted."""
        for one in self._noted:
            self._count(one)
        self._noted.clear()
        return self

    def _count(self, batch: Noted) -> None:
        ref, mode, size, waited_s, steps, ended_at = batch
        self.last_at[ref] = ended_at
        _of(self.sizes, (ref, mode), ROWS).observe(size)
        _of(self.phases, (ref, mode, "queue"), SECONDS).observe(waited_s)
        phases = _by_phase(steps)
        for phase, seconds in phases.items():
            _of(self.phases, (ref, mode, phase), SECONDS).observe(seconds)
        if size <= LARGEST_APART:
            sized = self.by_size.setdefault(ref, {}).setdefault(size, SizedBatches())
            sized.count += 1
            for phase, seconds in phases.items():
                sized.seconds[phase] = sized.seconds.get(phase, 0.0) + seconds


def _of(histograms: dict[K, Histogram], key: K, bounds: tuple[float, ...]) -> Histogram:
    found = histograms.get(key)
    if found is None:
        found = histograms[key] = Histogram(bounds)
    return found


def _by_phase(steps: Sequence[Took]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for phase, _, seconds, _ in steps:
        totals[phase] = totals.get(phase, 0.0) + seconds
    return totals
