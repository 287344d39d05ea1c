"""What has each version done so far, in the terms of the statistics extension of the Open Inference Protocol?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final

from headrace.domain.registry import PipelineRef
from headrace.services.batch_counts import SizedBatches
from headrace.services.histogram import Histogram
from headrace.services.measures import Lookups, Measures


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened, and how long it took altogether."""

    count: int = 0
    ns: int = 0

    def __add__(self, other: Duration) -> Duration:
        return Duration(self.count + other.count, self.ns + other.ns)


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The batches of one size; each duration counts them all."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration

    def __add__(self, other: BatchStatistics) -> BatchStatistics:
        return BatchStatistics(
            self.batch_size,
            self.compute_input + other.compute_input,
            self.compute_infer + other.compute_infer,
            self.compute_output + other.compute_output,
        )


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of one *version* of *pipeline* since it was first served.

    *success* and *fail* count requests, *queue* and *compute_…* batches (the queue's time is that of the oldest
    request), *inference_count* rows and *execution_count* batches; of cache lookups the time is not measured.
    *last_inference_ms* is in milliseconds since the epoch, 0 before the first batch; *batches* go by their size, and
    leave out the very large ones.
    """

    pipeline: str
    version: str
    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()
    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    batches: tuple[BatchStatistics, ...] = ()

    def __add__(self, other: Statistics) -> Statistics:
        durations = {name: getattr(self, name) + getattr(other, name) for name in _DURATIONS}
        sizes: dict[int, BatchStatistics] = {}
        for one in (*self.batches, *other.batches):
            sizes[one.batch_size] = sizes[one.batch_size] + one if one.batch_size in sizes else one
        return Statistics(
            self.pipeline,
            self.version,
            **durations,
            inference_count=self.inference_count + other.inference_count,
            execution_count=self.execution_count + other.execution_count,
            last_inference_ms=max(self.last_inference_ms, other.last_inference_ms),
            batches=tuple(sizes[size] for size in sorted(sizes)),
        )


_DURATIONS: Final = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
)  # fmt: skip


async def statistics_of(measures: Measures, refs: Iterable[PipelineRef]) -> list[Statistics]:
    """The figures of *refs*, of all doors and speeds, of all workers where there are several."""
    found = [_of(measures, ref) for ref in refs]
    if measures.of_all_workers is None:
        return found
    everywhere = {(one.pipeline, one.version): one for one in await measures.of_all_workers()}
    return [everywhere.get((one.pipeline, one.version), one) for one in found]


def statistics_here(measures: Measures) -> list[Statistics]:
    """The figures of everything that this process has served."""
    refs = {ref: None for ref, *_ in measures.requests if ref is not None}
    refs |= dict.fromkeys(ref for ref, _ in measures.batches.sizes)
    refs |= dict.fromkeys(measures.cache)
    return [_of(measures, ref) for ref in refs]


def together(parts: Iterable[Iterable[Statistics]]) -> list[Statistics]:
    """The figures of several processes as those of one."""
    sums: dict[tuple[str, str], Statistics] = {}
    for one in chain.from_iterable(parts):
        key = one.pipeline, one.version
        sums[key] = sums[key] + one if key in sums else one
    return list(sums.values())


def _of(measures: Measures, ref: PipelineRef) -> Statistics:
    """The figures of *ref* in this process; copies to a shadow are its own requests."""
    answered = [(code, seen) for (one, _, _, code), seen in measures.requests.items() if one == ref]
    sizes = [seen for (one, _), seen in measures.batches.sizes.items() if one == ref]
    lookups = measures.cache.get(ref, Lookups())
    return Statistics(
        ref.name,
        ref.version,
        success=_total(seen for code, seen in answered if code == "ok"),
        fail=_total(seen for code, seen in answered if code != "ok"),
        queue=_phase(measures, ref, "queue"),
        compute_input=_phase(measures, ref, "preprocess"),
        compute_infer=_phase(measures, ref, "infer"),
        compute_output=_phase(measures, ref, "postprocess"),
        cache_hit=Duration(lookups.hit),
        cache_miss=Duration(lookups.miss),
        inference_count=int(sum(seen.sum for seen in sizes)),
        execution_count=sum(sum(seen.counts) for seen in sizes),
        last_inference_ms=int(measures.batches.last_at.get(ref, 0.0) * 1e3),
        batches=tuple(_sized(size, seen) for size, seen in sorted(measures.batches.by_size.get(ref, {}).items())),
    )


def _sized(size: int, seen: SizedBatches) -> BatchStatistics:
    spent = [
        Duration(seen.count, round(seen.seconds.get(phase, 0.0) * 1e9))
        for phase in ("preprocess", "infer", "postprocess")
    ]
    return BatchStatistics(size, *spent)


def _phase(measures: Measures, ref: PipelineRef, phase: str) -> Duration:
    return _total(seen for (one, _, other), seen in measures.batches.phases.items() if (one, other) == (ref, phase))


def _total(histograms: Iterable[Histogram]) -> Duration:
    found = list(histograms)
    return Duration(sum(sum(one.counts) for one in found), round(sum(one.sum for one in found) * 1e9))
