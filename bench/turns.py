"""How do two sides compare that are asked by turns? Answers a second and processor time, in pairs of one round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.comparing import Spread, ratio
from bench.running import Running

Load = Callable[[int], float]
"""Answers a second of what is asked for some seconds."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two: the server that is asked, and how."""

    title: str
    server: Running
    load: Load


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides, of which *ours* must answer *at_least* times as often as *theirs*."""

    title: str
    at_least: float
    ours: Side
    theirs: Side


@dataclass(slots=True)
class Seen:
    """What one side did: answers a second by round, and microseconds of the server's processors for each."""

    rates: dict[int, float] = field(default_factory=dict)
    costs_us: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median of answers a second."""
        return statistics.median(self.rates.values())

    @property
    def cost_us(self) -> float:
        """The median of microseconds for an answer."""
        return statistics.median(self.costs_us)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pair compares."""

    pair: Pair
    ours: Seen
    theirs: Seen

    @property
    def ratio(self) -> Spread | None:
        """How many times theirs ours is, from samples of the same round."""
        return ratio(self.ours.rates, self.theirs.rates)

    @property
    def holds(self) -> bool:
        """Whether the median reaches what it has to."""
        return self.ratio is not None and self.ratio.median >= self.pair.at_least


def by_turns(
    pairs: Sequence[Pair], rounds: int, seconds: int, say: Callable[[str], None] = lambda line: None
) -> list[Outcome]:
    """Ask both sides of every pair in every round; another one goes first in each. A round before warms up."""
    seen = [(Seen(), Seen()) for _ in pairs]
    for number in range(-1, rounds):
        for pair, both in zip(pairs, seen, strict=True):
            sides = list(zip((pair.ours, pair.theirs), both, strict=True))
            for side, noted in sides if number % 2 else reversed(sides):
                rate, cost_us = _asked(side, seconds)
                if number >= 0:
                    noted.rates[number] = rate
                    noted.costs_us.append(cost_us)
                    say(f"  {pair.title:34} {side.title:16} {rate:8.0f}/s {cost_us:6.0f} us")
    return [Outcome(pair, *both) for pair, both in zip(pairs, seen, strict=True)]


def _asked(side: Side, seconds: int) -> tuple[float, float]:
    before = side.server.cpu_s()
    rate = side.load(seconds)
    return rate, (side.server.cpu_s() - before) * 1e6 / max(1.0, rate * seconds)


def as_rows(outcomes: Sequence[Outcome], told: Mapping[bool, str]) -> list[list[str]]:
    """A row for each outcome: what was compared, both rates, what is wanted, what was found, costs, and the verdict."""
    rows = []
    for one in outcomes:
        found = one.ratio
        shown = f"{found.median:.2f} x ({found.least:.2f}-{found.most:.2f})" if found else "-"
        rows.append([
            one.pair.title, f"{one.ours.rate:.0f}", f"{one.theirs.rate:.0f}", f"{one.pair.at_least} x", shown,
            f"{one.ours.cost_us:.0f}", f"{one.theirs.cost_us:.0f}", told[one.holds],
        ])  # fmt: skip
    return rows
