"""Is what something costs read off pairs of figures, does one bad round leave it alone, and how sure is it?"""

import random

import pytest
from bench.overhead import Change, Figures, change, cpu_change, throughput_loss, verdict

WITHOUT = [Figures(1000, 50), Figures(800, 60), Figures(1200, 40)]


def test_costs_are_those_of_the_pairs_and_not_of_the_rounds() -> None:
    dearer = [Figures(one.per_second * 0.96, one.cpu_us * 1.04) for one in WITHOUT]

    assert cpu_change(WITHOUT, dearer).median == pytest.approx(0.04)
    assert throughput_loss(WITHOUT, dearer).median == pytest.approx(0.04)
    assert cpu_change(WITHOUT, WITHOUT) == throughput_loss(WITHOUT, WITHOUT) == Change(0, 0, 0)


def test_one_round_in_which_the_machine_was_busy_changes_little() -> None:
    disturbed = [Figures(100, 500), *WITHOUT[1:]]

    assert cpu_change(WITHOUT, disturbed).median == throughput_loss(WITHOUT, disturbed).median == 0


@pytest.mark.parametrize(("rounds", "least", "most"), [(3, 0, 2), (5, 0, 4), (6, 0, 5), (9, 1, 7), (20, 5, 14)])
def test_the_spread_is_the_interval_of_the_median_and_few_rounds_leave_all_of_it(
    rounds: int, least: int, most: int
) -> None:
    found = change((1.0, 1.0 + number) for number in range(rounds))

    assert (found.least, found.most) == (least, most)


def test_the_interval_holds_the_true_median_nearly_always() -> None:
    chance = random.Random(7)

    intervals = [change((1.0, chance.gauss(1.0, 0.2)) for _ in range(20)) for _ in range(1000)]

    assert 940 < sum(one.least <= 0 <= one.most for one in intervals) < 980


QUIET = Change(0.0, -0.01, 0.01)


@pytest.mark.parametrize(
    ("nothing", "both", "code", "says"),
    [
        (QUIET, Change(0.03, 0.02, 0.04), 0, ""),
        (QUIET, Change(0.06, 0.055, 0.07), 1, ""),
        (QUIET, Change(0.04, 0.01, 0.08), 0, "more --rounds"),
        (Change(0.0, -0.02, 0.3), Change(0.01, 0.0, 0.02), 2, "too busy"),
        (Change(0.0, -0.3, 0.02), Change(0.09, 0.08, 0.1), 2, "too busy"),
    ],
)
def test_the_median_decides_unless_the_machine_cannot_tell(
    nothing: Change, both: Change, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(nothing, both) == code
    assert says in "".join(capsys.readouterr())
