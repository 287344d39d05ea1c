"""Plain numbers about what was served: cheap to add to, read when somebody scrapes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headrace.domain.registry import PipelineRef
from headrace.services.context import Timing

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)


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


class Measures:
    """Requests by their labels, and batches and phases by pipeline."""

    def __init__(self) -> None:
        self.requests: dict[tuple[PipelineRef | None, str, str, str], Histogram] = {}
        self.batch_sizes: dict[PipelineRef, Histogram] = {}
        self.phases: dict[tuple[PipelineRef, str], Histogram] = {}
        self.cache: dict[tuple[PipelineRef, str], int] = {}

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
        phase, total = "", 0.0
        for current, _, seconds in timing.steps:
            if current != phase:
                if phase:
                    self._phase(ref, phase, total)
                phase, total = current, 0.0
            total += seconds
        if phase:
            self._phase(ref, phase, total)

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
