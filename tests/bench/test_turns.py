"""Do both sides of a pair get the same chances, and is a pair judged by its rounds?"""

from typing import Any

from bench.turns import Outcome, Pair, Seen, Side, as_rows, by_turns

TOLD = {True: "holds", False: "FALLS SHORT"}


class Clock:
    """A server that has spent some seconds of processor time whenever somebody looks."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def cpu_s(self) -> float:
        return self.spent_s


def side(title: str, rate: float, asked: list[str], cost_us: float = 100.0) -> Side:
    server: Any = Clock()

    def load(seconds: int) -> float:
        asked.append(title)
        server.spent_s += rate * seconds * cost_us / 1e6
        return rate

    return Side(title, server, load)


def test_sides_take_turns_and_another_one_begins_each_round() -> None:
    asked: list[str] = []

    [found] = by_turns([Pair("a", 1.0, side("ours", 30, asked), side("theirs", 20, asked))], rounds=2, seconds=1)

    assert asked == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]  # the first round warms up
    assert sorted(found.ours.rates) == [0, 1]
    assert found.ratio is not None and found.ratio.median == 1.5


def test_processor_time_is_that_of_one_answer() -> None:
    pair = Pair("a", 1.0, side("ours", 50, [], 90.0), side("theirs", 100, [], 60.0))

    [found] = by_turns([pair], rounds=3, seconds=2)

    assert (round(found.ours.cost_us), round(found.theirs.cost_us)) == (90, 60)


def test_every_pair_is_asked_in_every_round() -> None:
    asked: list[str] = []
    pairs = [Pair(name, 1.0, side(f"{name} ours", 1, asked), side(f"{name} theirs", 1, asked)) for name in "ab"]

    found = by_turns(pairs, rounds=1, seconds=1)

    assert [one.pair.title for one in found] == ["a", "b"]
    assert asked[4:] == ["a theirs", "a ours", "b theirs", "b ours"]


def test_a_pair_holds_when_its_median_does() -> None:
    pair = Pair("a", 0.9, side("ours", 1, []), side("theirs", 1, []))
    theirs = Seen({0: 100.0, 1: 100.0, 2: 100.0}, [10.0])

    held = Outcome(pair, Seen({0: 50.0, 1: 91.0, 2: 120.0}, [11.0]), theirs)
    missed = Outcome(pair, Seen({0: 50.0, 1: 89.0, 2: 120.0}, [11.0]), theirs)

    assert as_rows([held], TOLD) == [["a", "91", "100", "0.9 x", "0.91 x (0.50-1.20)", "11", "10", "holds"]]
    assert as_rows([missed], TOLD)[0][-1] == "FALLS SHORT"
