"""What has a pipeline done so far, in the terms of the protocol's statistics extension?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.domain.registry import PipelineRef
from headrace.services.measures import Histogram, Lookups, Measures, SizedBatches


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened, and how long it took altogether."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The batches of one size; each duration counts them all."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class Statistics:
    """One version's figures since it was first served.

    *success* and *fail* count requests, *queue* and *compute_…* batches (the queue's time is that of the oldest
    request), *inference_count* rows and *execution_count* batches; of cache lookups the time is not measured.
    *last_inference_ms* is in milliseconds since the epoch, 0 before the first batch; *batches* go by their size, and
    leave out the very large ones.
    """

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration
    inference_count: int
    execution_count: int
    last_inference_ms: int = 0
    batches: Sequence[BatchStatistics] = ()


def statistics_of(measures: Measures, ref: PipelineRef) -> Statistics:
    """The figures of *ref*, of all doors and speeds; copies to a shadow are its own requests."""
    answered = [(code, seen) for (one, _, _, code), seen in measures.requests.items() if one == ref]
    sizes = [seen for (one, _), seen in measures.batch_sizes.items() if one == ref]
    lookups = measures.cache.get(ref, Lookups())
    return Statistics(
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
        last_inference_ms=int(measures.last_at.get(ref, 0.0) * 1e3),
        batches=[_sized(size, seen) for size, seen in sorted(measures.by_size.get(ref, {}).items())],
    )


def _sized(size: int, seen: SizedBatches) -> BatchStatistics:
    spent = [
        Duration(seen.count, round(seen.seconds.get(phase, 0.0) * 1e9))
        for phase in ("preprocess", "infer", "postprocess")
    ]
    return BatchStatistics(size, *spent)


def _phase(measures: Measures, ref: PipelineRef, phase: str) -> Duration:
    return _total(seen for (one, _, other), seen in measures.phases.items() if (one, other) == (ref, phase))


def _total(histograms: Iterable[Histogram]) -> Duration:
    found = list(histograms)
    return Duration(sum(sum(one.counts) for one in found), round(sum(one.sum for one in found) * 1e9))
