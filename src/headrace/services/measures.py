"""Plain numbers about what was served: cheap to add to, read when somebody scrapes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from headrace.domain.batch import Batch
from headrace.domain.registry import PipelineRef
from headrace.domain.tensors import Column
from headrace.services.context import Timing
from headrace.services.costs import Prices

if TYPE_CHECKING:
    from headrace.services.statistics import Statistics

SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0,
)  # fmt: skip
CONFIDENCES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LABELLED: Final = "prediction"
"""The column of label pipelines, whose values hold a ``confidence``."""
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

    def observe(self, value: float, times: int = 1) -> None:
        """Add one observation, or several of the same value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


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


@dataclass(slots=True)
class Series:
    """What is counted of the batches of one pipeline in one mode, at hand where a batch ends."""

    sizes: Histogram
    phases: dict[str, Histogram]
    by_size: dict[int, SizedBatches]


@dataclass(slots=True)
class Lookups:
    """Rows looked up in the cache: found there (or under way already), not found, or not looked for on demand."""

    hit: int = 0
    miss: int = 0
    bypass: int = 0


class Measures:
    """Requests by their labels; batches and phases by pipeline and mode, for requests of several doors share a batch.

    *last_at* is in seconds since the epoch. With *prices* every batch is given its cost.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self.prices = prices
        self.of_all_workers: Callable[[], Awaitable[Sequence[Statistics]]] | None = None
        """Asks for the statistics of all workers; None where this process is the only one."""
        self.requests: dict[tuple[PipelineRef | None, str, str, str], Histogram] = {}
        self.batch_sizes: dict[tuple[PipelineRef, str], Histogram] = {}
        self.phases: dict[tuple[PipelineRef, str, str], Histogram] = {}
        self.confidences: dict[tuple[PipelineRef, str], Histogram] = {}
        self.costs: dict[tuple[PipelineRef, str], float] = {}
        self.cache: dict[PipelineRef, Lookups] = {}
        self.by_size: dict[PipelineRef, dict[int, SizedBatches]] = {}
        self.last_at: dict[PipelineRef, float] = {}
        self._series: dict[tuple[PipelineRef, str], Series] = {}

    def request(self, ref: PipelineRef | None, mode: str, door: str, code: str, seconds: float, times: int = 1) -> None:
        """One request, or *times* rows alike, was answered with *code* (``ok`` or an error's) after *seconds*."""
        key = (ref, mode, door, code)
        histogram = self.requests.get(key)
        if histogram is None:
            histogram = self.requests[key] = Histogram(SECONDS)
        # What `observe` does; this is done for every request, and a call less is worth it.
        histogram.counts[bisect_left(histogram.bounds, seconds)] += times
        histogram.sum += seconds * times

    def batch(
        self,
        ref: PipelineRef,
        timing: Timing,
        oldest_wait_s: float,
        done: Batch | None = None,
        *,
        mode: str = "request",
        device: str = "cpu",
    ) -> None:
        """One batch ran on *device* and came back as *done*; its oldest request had waited for *oldest_wait_s*."""
        series = self._series.get((ref, mode)) or self._begin(ref, mode)
        size = timing.batch_size
        series.sizes.observe(size)
        series.phases["queue"].observe(oldest_wait_s)
        phases = _by_phase(timing.steps)
        for phase, seconds in phases.items():
            histogram = series.phases.get(phase)
            if histogram is None:
                histogram = self._phase(series, ref, mode, phase)
            histogram.observe(seconds)
        if size <= LARGEST_APART:
            _count_sized(series.by_size, size, phases)
        if done is not None and LABELLED in done.columns:
            self._confidence(ref, mode, done.columns[LABELLED])
        self.price(ref, mode, timing, device)
        self.last_at[ref] = time.time()

    def price(self, ref: PipelineRef, mode: str, timing: Timing, device: str) -> None:
        """Give a batch its cost, where anything has a price; once, however often it is asked for."""
        if self.prices is None or timing.cost is not None:
            return
        cost = timing.cost = self.prices.batch(timing.steps, timing.batch_size, device, timing.tokens)
        self.costs[ref, mode] = self.costs.get((ref, mode), 0.0) + cost.amount

    def lookups(self, ref: PipelineRef) -> Lookups:
        """What is counted of the rows of *ref* that are looked up in the cache; whoever looks adds to it."""
        return self.cache.setdefault(ref, Lookups())

    def labelled(self) -> Iterator[tuple[Labels, Histogram]]:
        """Every request series with its labels."""
        for (ref, mode, door, code), histogram in self.requests.items():
            yield Labels(ref.name if ref else "", ref.version if ref else "", mode, door, code), histogram

    def _begin(self, ref: PipelineRef, mode: str) -> Series:
        sizes = self.batch_sizes[ref, mode] = Histogram(ROWS)
        series = self._series[ref, mode] = Series(sizes, {}, self.by_size.setdefault(ref, {}))
        self._phase(series, ref, mode, "queue")
        return series

    def _phase(self, series: Series, ref: PipelineRef, mode: str, phase: str) -> Histogram:
        histogram = series.phases[phase] = self.phases[ref, mode, phase] = Histogram(SECONDS)
        return histogram

    def _confidence(self, ref: PipelineRef, mode: str, predictions: Column) -> None:
        """Count how sure the model was, row by row; another column of that name has nothing to say."""
        histogram = self.confidences.get((ref, mode)) or Histogram(CONFIDENCES)
        for prediction in predictions:
            confidence = prediction.get("confidence") if isinstance(prediction, dict) else None
            if isinstance(confidence, float):
                histogram.observe(confidence)
                self.confidences[ref, mode] = histogram


def _count_sized(sizes: dict[int, SizedBatches], size: int, phases: dict[str, float]) -> None:
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
