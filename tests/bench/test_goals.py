"""Is a goal called reached when it is, and short when it is not?"""

from bench.cells import CELLS
from bench.comparing import Spread
from bench.goals import GOALS, Goal, cells_for, measured, verdict
from bench.measuring import Sample
from bench.servers import DOORS, SERVERS
from bench.work import Work
from tests.bench.runs import run, speed

from bench import goals, protocols


def spread(median: float) -> Spread:
    return Spread(median, median, median, 1)


def work(name: str) -> Work:
    return Work(name, name, __file__, [[1.0]], 1)  # type: ignore[arg-type]


def test_verdicts() -> None:
    assert verdict(spread(1.3), 0.55, 1.2) == "aim reached"
    assert verdict(spread(0.6), 0.55, 1.2) == "holds"
    assert verdict(spread(13.0), 12, None) == "holds"
    assert verdict(spread(0.5), 0.55, 1.2) == "FALLS SHORT"
    assert verdict(spread(0.5), 0.0, 0.9) == "below the aim"
    assert verdict(None, 0.55, 1.2) == "not measured"


def test_the_fastest_of_several_servers_is_the_one_that_counts() -> None:
    found = run(speed("headrace", 60.0), speed("fastapi-def", 10.0), speed("fastapi-async", 20.0))

    assert measured(found, Goal("tiny", "c64", goals.FASTAPI, 2.5)) == spread(3.0)


def test_cached_answers_are_compared_with_uncached_ones_of_the_same_round() -> None:
    found = run(speed("headrace", 60.0), speed("headrace", 90.0, work="tiny-cached"))

    assert measured(found, Goal("tiny-cached", "c64", ("headrace",), 1.0, beside="tiny")) == spread(1.5)


def test_every_goal_has_both_of_its_sides_measured() -> None:
    for goal in GOALS:
        names = {cell.name for cell in cells_for(work(goal.work), SERVERS["headrace"])}
        assert goal.cell in names
        for name in goal.against:
            beside = work(goal.beside or goal.work)
            assert goal.cell in {cell.name for cell in cells_for(beside, SERVERS[name])}


def test_a_given_rate_is_measured_for_every_model_with_the_echo_beside_it() -> None:
    for name in goals.PACED:
        for server in ("headrace", "echo"):
            assert CELLS["rate"] in cells_for(work(name), SERVERS[server])
    assert cells_for(work("tiny"), SERVERS["ray"]) == []


def test_the_tail_may_be_three_times_that_of_the_echo() -> None:
    def paced(server: str, p50: float, p95: float, p99: float) -> Sample:
        return Sample(0, "tiny", server, "rate", 100.0, p50, p95, p99, rate=100.0)

    within = goals.as_text(run(paced("headrace", 1.0, 5.0, 14.0), paced("echo", 1.0, 2.0, 5.0)))
    beyond = goals.as_text(run(paced("headrace", 1.0, 5.0, 16.0), paced("echo", 1.0, 2.0, 5.0)))
    slow = goals.as_text(run(paced("headrace", 40.0, 60.0, 70.0), paced("echo", 1.0, 2.0, 5.0)))

    assert "holds" in within and "15.0 ms" in within
    assert "FALLS SHORT" in beyond
    assert "FALLS SHORT" in slow


def test_every_door_that_a_goal_names_exists_and_is_measured() -> None:
    for goal in protocols.GOALS:
        for name in (goal.name, goal.against):
            assert protocols.cells_for(work(goal.work), DOORS[name]) == [CELLS["c64"]]


def test_doors_are_compared_in_words() -> None:
    found = run(speed("headrace", 50.0, work="medium"), speed("headrace-binary", 60.0, work="medium"))

    text = protocols.as_text(found)

    assert "1.20 x | holds" in text
    assert text.count("not measured") == len(protocols.GOALS) - 1
