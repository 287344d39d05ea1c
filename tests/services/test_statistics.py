"""Do the statistics of several processes come to one sum, and do they count what each has done?"""

import pytest

from headrace.domain.registry import PipelineRef
from headrace.services.context import Timing
from headrace.services.measures import Measures
from headrace.services.statistics import BatchStatistics, Duration, Statistics, statistics_here, statistics_of, together

REF = PipelineRef("digits", "1")
OTHER = PipelineRef("reviews", "2")


def served(ref: PipelineRef, rows: int) -> Measures:
    """What one request of *rows* leaves behind."""
    measures = Measures()
    measures.request(ref, "request", "http", "ok", 0.5)
    measures.request(None, "request", "http", "not_found", 0.1)
    measures.batch(ref, Timing(steps=[("infer", "model", 0.25, 0.0)], batch_size=rows), 0.125)
    measures.lookups(ref).hit += 1
    return measures


def test_what_one_process_has_served_is_found_by_version() -> None:
    (found,) = statistics_here(served(REF, 3))

    assert (found.pipeline, found.version) == ("digits", "1")
    assert (found.success, found.fail) == (Duration(1, 500_000_000), Duration())
    assert (found.inference_count, found.execution_count) == (3, 1)
    assert found.queue == Duration(1, 125_000_000)
    assert found.cache_hit == Duration(1)


def test_processes_add_up_version_by_version_and_size_by_size() -> None:
    parts = [statistics_here(served(ref, rows)) for ref, rows in ((REF, 3), (REF, 3), (REF, 1), (OTHER, 3))]

    found = {one.pipeline: one for one in together(parts)}

    assert [found["digits"].inference_count, found["reviews"].inference_count] == [7, 3]
    assert found["digits"].success == Duration(3, 1_500_000_000)
    assert [(one.batch_size, one.compute_infer) for one in found["digits"].batches] == [
        (1, Duration(1, 250_000_000)),
        (3, Duration(2, 500_000_000)),
    ]
    assert found["digits"].last_inference_ms == max(one.last_inference_ms for part in parts[:3] for one in part)


def test_the_sum_has_what_only_one_process_did() -> None:
    quiet = Statistics("digits", "1")
    size = BatchStatistics(2, Duration(), Duration(1, 5), Duration())
    busy = Statistics("digits", "1", last_inference_ms=9, inference_count=2, batches=(size,))

    assert quiet + busy == busy + quiet == busy


async def test_a_process_that_is_alone_tells_its_own() -> None:
    (found, unused) = await statistics_of(served(REF, 2), [REF, OTHER])

    assert found.inference_count == 2
    assert unused == Statistics("reviews", "2")


@pytest.mark.parametrize("ref", [REF, OTHER])
async def test_a_worker_tells_those_of_all(ref: PipelineRef) -> None:
    measures = served(REF, 2)

    async def everywhere() -> list[Statistics]:
        return [Statistics("reviews", "2", inference_count=40), Statistics("digits", "1", inference_count=30)]

    measures.of_all_workers = everywhere

    (found,) = await statistics_of(measures, [ref])

    assert (found.pipeline, found.inference_count) == (ref.name, {"digits": 30, "reviews": 40}[ref.name])
