"""Plain numbers about what was served: cheap to add to, read when somebody scrapes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.domain.registry import PipelineRef
from headrace.services.context import Timing

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)

LARGEST_APART: Final = 1024
"""Rows up to which every size of batch is counted apart; a request may bring any number."""


class Histogram:
    """Counts per bucket (upper bounds in *bounds*, one more for what is above) and the sum of what was seen."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(frozen=True, slots=True)
class Labels:
    """What tells one series from another."""

    pipeline: str
    version: str
    mode: str
    door: str
    code: str


@dataclass(slots=True)
class SizedBatches:
    """The batches of one size: how many there were, and the seconds that each phase took altogether."""

    count: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class Measures:
    """Requests by their labels, and batches and phases by pipeline; *last_at* is in seconds since the epoch."""

    def __init__(self) -> None:
        self.requests: dict[tuple[PipelineRef | None, str, str, str], Histogram] = {}
        self.batch_sizes: dict[PipelineRef, Histogram] = {}
        self.phases: dict[tuple[PipelineRef, str], Histogram] = {}
        self.cache: dict[tuple[PipelineRef, str], int] = {}
        self.by_size: dict[PipelineRef, dict[int, SizedBatches]] = {}
        self.last_at: dict[PipelineRef, float] = {}

    def request(self, ref: PipelineRef | None, mode: str, door: str, code: str, seconds: float) -> None:
        """One request was answered with *code* (``ok`` or an error's) after *seconds*."""
        key = (ref, mode, door, code)
        histogram = self.requests.get(key)
        if histogram is None:
            histogram = self.requests[key] = Histogram(SECONDS)
        histogram.observe(seconds)

    def batch(self, ref: PipelineRef, timing: Timing, oldest_wait_s: float) -> None:
        """One batch ran; *oldest_wait_s* is how long its oldest request had waited."""
        sizes = self.batch_sizes.get(ref)
        if sizes is None:
            sizes = self.batch_sizes[ref] = Histogram(ROWS)
        sizes.observe(timing.batch_size)
        self._phase(ref, "queue", oldest_wait_s)
        phases = _by_phase(timing.steps)
        for phase, seconds in phases.items():
            self._phase(ref, phase, seconds)
        self.last_at[ref] = time.time()
        if timing.batch_size <= LARGEST_APART:
            self._sized(ref, timing.batch_size, phases)

    def cached(self, ref: PipelineRef, state: str) -> None:
        """A row was looked up in the cache: ``hit``, ``miss`` or ``bypass``."""
        key = (ref, state)
        self.cache[key] = self.cache.get(key, 0) + 1

    def labelled(self) -> Iterator[tuple[Labels, Histogram]]:
        """Every request series with its labels."""
        for (ref, mode, door, code), histogram in self.requests.items():
            yield Labels(ref.name if ref else "", ref.version if ref else "", mode, door, code), histogram

    def _phase(self, ref: PipelineRef, phase: str, seconds: float) -> None:
        histogram = self.phases.get((ref, phase))
        if histogram is None:
            histogram = self.phases[ref, phase] = Histogram(SECONDS)
        histogram.observe(seconds)

    def _sized(self, ref: PipelineRef, size: int, phases: dict[str, float]) -> None:
        sizes = self.by_size.setdefault(ref, {})
        sized = sizes.get(size)
        if sized is None:
            sized = sizes[size] = SizedBatches()
        sized.count += 1
        totals = sized.seconds
        for phase, seconds in phases.items():
            totals[phase] = totals.get(phase, 0.0) + seconds


def _by_phase(steps: Sequence[tuple[str, str, float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for phase, _, seconds in steps:
        totals[phase] = totals.get(phase, 0.0) + seconds
    return totals
