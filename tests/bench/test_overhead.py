"""Is what something costs read off pairs of figures, and does one bad round leave it alone?"""

import pytest
from bench.overhead import Figures, cpu_cost, throughput_cost

WITHOUT = [Figures(1000, 50), Figures(800, 60), Figures(1200, 40)]


def test_costs_are_those_of_the_pairs_and_not_of_the_rounds() -> None:
    dearer = [Figures(one.per_second * 0.96, one.cpu_us * 1.04) for one in WITHOUT]

    assert cpu_cost(WITHOUT, dearer) == pytest.approx(0.04)
    assert throughput_cost(WITHOUT, dearer) == pytest.approx(0.04)
    assert cpu_cost(WITHOUT, WITHOUT) == throughput_cost(WITHOUT, WITHOUT) == 0


def test_one_round_in_which_the_machine_was_busy_changes_little() -> None:
    disturbed = [Figures(100, 500), *WITHOUT[1:]]

    assert cpu_cost(WITHOUT, disturbed) == throughput_cost(WITHOUT, disturbed) == 0
