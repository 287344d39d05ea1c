"""The parts of a request follow one another without gaps, however it was answered."""

import time

import pytest

from headrace.adapters.explaining import PARTS, Stopwatch, explained
from headrace.domain.registry import PipelineRef
from headrace.services.context import Result, Timing
from headrace.services.costs import BatchCost

STEPS = [
    ("preprocess", "inputs", 0.001, 0.0),
    ("infer", "model", 0.004, 0.001),
    ("postprocess", "top", 0.002, 0.005),
]


def answered(watch: Stopwatch, *, queue_s: float = 0.003, run_s: float = 0.01, cached: bool = False) -> Result:
    """A result whose batch ran after what *watch* has measured, and long ago by now."""
    timing = Timing(4, run_s, STEPS, watch._last + 0.0005 + queue_s)
    watch.mark("decode")
    watch._last -= 1.0
    watch._started -= 1.0
    timing.started -= 1.0
    return Result(PipelineRef("p", "1"), {}, range(1), timing, queue_s, cached=cached, route="only version", digest="d")


def test_the_parts_of_a_batch_add_up() -> None:
    watch = Stopwatch()
    result = answered(watch)

    watch.ran(result)
    watch.mark("render")
    told = explained(result, watch)

    assert sum(told["parts"].values()) == pytest.approx(told["total_ms"], abs=0.01)
    assert told["parts"]["queue"] == 3.0
    assert (told["parts"]["infer"], told["parts"]["hand_over"]) == (4.0, 3.0)
    assert [part for part in PARTS if part in told["parts"]] == list(told["parts"])
    assert all(ms >= 0 for ms in told["parts"].values())


def test_an_answer_that_was_kept_ran_in_no_batch() -> None:
    watch = Stopwatch()
    result = answered(watch, cached=True)

    watch.ran(result)

    assert watch.milliseconds().keys() == {"decode", "cache"}
    assert sum(watch.parts.values()) == pytest.approx(watch.total_s)


@pytest.mark.parametrize("begun", [0.0, time.monotonic() - 50], ids=["none", "long ago"])
def test_a_batch_that_ran_for_somebody_else_is_no_part_of_this_request(begun: float) -> None:
    watch = Stopwatch()
    result = Result(PipelineRef("p", "1"), {}, range(1), Timing(1, 0.5, STEPS, begun))

    watch.ran(result)

    assert watch.milliseconds().keys() == {"prepare"}
    assert sum(watch.parts.values()) == pytest.approx(watch.total_s)


def test_a_part_that_comes_twice_is_counted_twice() -> None:
    watch = Stopwatch()

    watch.mark("decode")
    first = watch.parts["decode"]
    watch.mark("decode")

    assert watch.parts["decode"] > first
    assert watch.parts["decode"] == pytest.approx(watch.total_s)


def test_a_twin_goes_its_own_way_from_here() -> None:
    watch = Stopwatch()
    watch.mark("read")
    twin = watch.fork()

    twin.mark("decode")

    assert watch.milliseconds().keys() == {"read"}
    assert sum(twin.parts.values()) == pytest.approx(twin.total_s)


def test_what_it_cost_is_told_where_there_are_prices() -> None:
    watch = Stopwatch()
    result = answered(watch)
    without = explained(result, watch)

    result.timing.cost = BatchCost(8.0, "EUR", 0.5, 4)
    result.rows = range(2)

    assert "cost" not in without
    assert explained(result, watch)["cost"] == {"amount": 4.0, "currency": "EUR", "device_s": 0.25}
