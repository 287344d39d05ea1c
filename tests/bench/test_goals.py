"""Is a goal called reached when it is, and short when it is not?"""

from bench.cells import CELLS
from bench.comparing import Spread
from bench.goals import GOALS, Goal, cells_for, measured, verdict
from bench.measuring import Sample
from bench.servers import SERVERS
from bench.work import Work
from tests.bench.runs import run, speed

from bench import goals


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


def test_what_was_wanted_and_not_measured_is_told() -> None:
    found = run(speed("headrace", 60.0), speed("echo", 100.0))

    silent, told = goals.as_text(found), goals.as_text(found, ["tiny"])

    assert "not measured" not in silent
    # All goals of tiny but the one beside the echo, and its given rate.
    assert told.count("not measured") == sum(goal.work == "tiny" for goal in GOALS) - 1 + 1


def test_every_row_of_the_table_of_goals_is_there() -> None:
    found = {(goal.work, goal.cell, goal.title): (goal.at_least, goal.aim) for goal in GOALS}

    assert found == {
        ("tiny", "c64", "ASGI echo"): (0.55, 1.2),
        ("tiny", "c64", "Mosec"): (0.9, 1.5),
        ("tiny", "c64", "MLServer"): (12, None),
        ("tiny", "c64", "FastAPI, 2 processes"): (2.5, None),
        ("tiny", "c1", "ASGI echo"): (0.5, 0.7),
        ("tiny", "c1", "FastAPI, def"): (3, None),
        ("tiny", "c1", "Mosec"): (12, None),
        ("medium", "c64", "raw ONNX Runtime, one thread, batch 16"): (0.62, 0.8),
        ("medium", "c64", "Mosec"): (1.0, 1.3),
        ("medium", "c64", "MLServer or MLServer, tuned"): (5, None),
        ("medium", "c64", "FastAPI, def or FastAPI, 2 processes"): (5, None),
        ("medium", "c8", "Mosec"): (2, 3),
        ("medium", "c8", "FastAPI, def or FastAPI, 2 processes"): (2.5, 3),
        ("minilm", "c64", "raw ONNX Runtime, two cores, best batch"): (0.8, 0.92),
        ("minilm", "c64", "Mosec"): (0.95, 1.1),
        ("minilm", "c64", "MLServer or MLServer, tuned"): (1.3, None),
        ("minilm", "c1", "FastAPI, def or FastAPI, 2 processes"): (1.0, 1.2),
        ("tiny-cached", "c64", "Headrace, not cached"): (1.0, None),
        ("tiny-cached", "c64", "ASGI echo"): (0.0, 0.9),
    }


def test_a_rate_that_is_not_kept_up_with_falls_short() -> None:
    behind = Sample(0, "tiny", "headrace", "rate", 90.0, 1.0, 2.0, 3.0, rate=100.0)

    assert "FALLS SHORT" in goals.as_text(run(behind))
