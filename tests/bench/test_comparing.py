"""Are rounds put together as they should be?"""

from bench.comparing import Spread, disturbed, ratio, speeds
from bench.measuring import Sample
from tests.bench.runs import run, speed


def test_a_ratio_pairs_samples_of_the_same_round() -> None:
    ours, theirs = {0: 10.0, 1: 30.0, 2: 60.0}, {0: 10.0, 1: 10.0, 2: 20.0}

    assert ratio(ours, theirs) == Spread(3.0, 1.0, 3.0, 3)


def test_a_round_that_one_side_missed_counts_for_nothing() -> None:
    assert ratio({0: 10.0, 1: 30.0}, {1: 10.0, 2: 1.0}) == Spread(3.0, 3.0, 3.0, 1)
    assert ratio({0: 10.0}, {}) is None
    assert ratio({0: 10.0}, {0: 0.0}) is None


def test_two_cores_are_the_best_of_the_settings_that_use_two() -> None:
    found = run(
        speed("raw", 100.0, cell="t1-b16"),
        speed("raw", 150.0, cell="t2-b16"),
        speed("raw", 180.0, cell="2x1-b32"),
    )

    assert speeds(found, "tiny", "raw", "two-cores") == {0: 180.0}
    assert speeds(found, "tiny", "raw", "one-core") == {0: 100.0}
    assert speeds(found, "tiny", "raw", "t1-b16") == {0: 100.0}


def test_a_cell_is_disturbed_when_others_were_busy_in_most_rounds() -> None:
    def cell(*others: float) -> dict[int, Sample]:
        return {number: Sample(number, "tiny", "echo", "c1", 1.0, others=share) for number, share in enumerate(others)}

    assert disturbed(cell(0.3, 0.3, 0.0))
    assert not disturbed(cell(0.3, 0.0, 0.0))
    assert not disturbed({})
