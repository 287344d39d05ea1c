"""Plain numbers about what was served: cheap to add to, read when somebody scrapes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.domain.batch import Batch
from headrace.domain.registry import PipelineRef
from headrace.domain.tensors import Column
from headrace.services.batch_counts import BatchCounts
from headrace.services.context import Timing
from headrace.services.costs import Prices
from headrace.services.histogram import SECONDS, Histogram

if TYPE_CHECKING:
    from headrace.services.statistics import Statistics

CONFIDENCES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LABELLED: Final = "prediction"
"""The column of label pipelines, whose values hold a ``confidence``."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What tells one series from another."""

    pipeline: str
    version: str
    mode: str
    door: str
    code: str


@dataclass(slots=True)
class Lookups:
    """Rows looked up in the cache: found there (or under way already), not found, or not looked for on demand."""

    hit: int = 0
    miss: int = 0
    bypass: int = 0


class Measures:
    """Requests by their labels; batches and phases by pipeline and mode, for requests of several doors share a batch.

    With *prices* every batch is given its cost.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self.prices = prices
        self.of_all_workers: Callable[[], Awaitable[Sequence[Statistics]]] | None = None
        """Asks for the statistics of all workers; None where this process is the only one."""
        self.requests: dict[tuple[PipelineRef | None, str, str, str], Histogram] = {}
        self.confidences: dict[tuple[PipelineRef, str], Histogram] = {}
        self.costs: dict[tuple[PipelineRef, str], float] = {}
        self.cache: dict[PipelineRef, Lookups] = {}
        self._batches = BatchCounts()

    @property
    def batches(self) -> BatchCounts:
        """What is known of batches by now."""
        return self._batches.settled()

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
        self._batches.note(ref, mode, timing, oldest_wait_s)
        if done is not None and LABELLED in done.columns:
            self._confidence(ref, mode, done.columns[LABELLED])
        self.price(ref, mode, timing, device)

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

    def _confidence(self, ref: PipelineRef, mode: str, predictions: Column) -> None:
        """Count how sure the model was, row by row; another column of that name has nothing to say."""
        histogram = self.confidences.get((ref, mode)) or Histogram(CONFIDENCES)
        for prediction in predictions:
            confidence = prediction.get("confidence") if isinstance(prediction, dict) else None
            if isinstance(confidence, float):
                histogram.observe(confidence)
                self.confidences[ref, mode] = histogram
