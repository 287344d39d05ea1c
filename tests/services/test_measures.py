"""Are batches counted apart by their size, and is there an end to how many sizes?"""

from headrace.domain.registry import PipelineRef
from headrace.services.context import Timing
from headrace.services.measures import LARGEST_APART, Measures

REF = PipelineRef("double", "1")


def test_phases_add_up_by_the_size_of_the_batch() -> None:
    measures = Measures()
    steps = [("preprocess", "inputs", 0.25), ("preprocess", "scale", 0.25), ("infer", "model", 1.0)]

    for size in (4, 2, 4):
        measures.batch(REF, Timing(size, 1.5, steps), 0.125)

    assert {size: seen.count for size, seen in measures.by_size[REF].items()} == {4: 2, 2: 1}
    assert measures.by_size[REF][4].seconds == {"preprocess": 1.0, "infer": 2.0}
    assert measures.phases[REF, "queue"].sum == 0.375
    assert measures.phases[REF, "preprocess"].sum == 1.5


def test_very_large_batches_stand_in_the_totals_alone() -> None:
    measures = Measures()

    for size in range(LARGEST_APART, LARGEST_APART + 50):
        measures.batch(REF, Timing(size, 1.0, [("infer", "model", 1.0)]), 0.0)

    assert list(measures.by_size[REF]) == [LARGEST_APART]
    assert measures.phases[REF, "infer"].sum == 50


def test_the_last_batch_is_known_by_the_clock_on_the_wall() -> None:
    measures = Measures()

    measures.batch(REF, Timing(1, 1.0, []), 0.0)

    assert measures.last_at[REF] > 1_700_000_000
