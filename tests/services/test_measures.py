"""Are batches counted apart by their size, and is there an end to how many sizes?"""

from headrace.domain.batch import Batch
from headrace.domain.registry import PipelineRef
from headrace.services.batch_counts import LARGEST_APART
from headrace.services.context import Timing
from headrace.services.histogram import SECONDS, Histogram
from headrace.services.measures import CONFIDENCES, Measures

REF = PipelineRef("double", "1")


def test_phases_add_up_by_the_size_of_the_batch() -> None:
    measures = Measures()
    steps = [("preprocess", "inputs", 0.25, 0.0), ("preprocess", "scale", 0.25, 0.25), ("infer", "model", 1.0, 0.5)]

    for size in (4, 2, 4):
        measures.batch(REF, Timing(size, 1.5, steps), 0.125)

    assert {size: seen.count for size, seen in measures.batches.by_size[REF].items()} == {4: 2, 2: 1}
    assert measures.batches.by_size[REF][4].seconds == {"preprocess": 1.0, "infer": 2.0}
    assert measures.batches.phases[REF, "request", "queue"].sum == 0.375
    assert measures.batches.phases[REF, "request", "preprocess"].sum == 1.5


def test_very_large_batches_stand_in_the_totals_alone() -> None:
    measures = Measures()

    for size in range(LARGEST_APART, LARGEST_APART + 50):
        measures.batch(REF, Timing(size, 1.0, [("infer", "model", 1.0, 0.0)]), 0.0)

    assert list(measures.batches.by_size[REF]) == [LARGEST_APART]
    assert measures.batches.phases[REF, "request", "infer"].sum == 50


def test_the_last_batch_is_known_by_the_clock_on_the_wall() -> None:
    measures = Measures()

    measures.batch(REF, Timing(1, 1.0, []), 0.0)

    assert measures.batches.last_at[REF] > 1_700_000_000


def test_batches_of_different_speeds_are_counted_apart() -> None:
    measures = Measures()

    measures.batch(REF, Timing(2, 1.0, [("infer", "model", 1.0, 0.0)]), 0.0)
    measures.batch(REF, Timing(50, 1.0, [("infer", "model", 3.0, 0.0)]), 0.0, mode="job")

    assert {mode: seen.sum for (_, mode), seen in measures.batches.sizes.items()} == {"request": 2, "job": 50}
    assert measures.batches.phases[REF, "request", "infer"].sum == 1.0
    assert measures.batches.phases[REF, "job", "infer"].sum == 3.0


def test_confidence_is_counted_by_row_where_there_is_one() -> None:
    measures = Measures()
    sure, unsure = {"class_id": 1, "confidence": 0.96}, {"class_id": 0, "confidence": 0.25}

    measures.batch(REF, Timing(3, 1.0), 0.0, Batch({"prediction": [sure, unsure, sure]}))
    measures.batch(REF, Timing(2, 1.0), 0.0, Batch({"prediction": ["cat", {"confidence": "high"}]}))
    measures.batch(REF, Timing(1, 1.0), 0.0, Batch({"y": [1.0]}))

    [seen] = measures.confidences.values()
    assert seen.sum == 0.96 * 2 + 0.25
    assert {CONFIDENCES[at]: count for at, count in enumerate(seen.counts) if count} == {0.3: 1, 0.99: 2}


def test_many_alike_are_counted_as_many() -> None:
    one, all_at_once = Histogram(SECONDS), Histogram(SECONDS)

    for _ in range(7):
        one.observe(0.25)
    all_at_once.observe(0.25, 7)

    assert (one.counts, one.sum) == (all_at_once.counts, all_at_once.sum)
