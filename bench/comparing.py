"""What do several rounds say together? Medians with their spread, and ratios of samples of the same round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measuring import RAW, Sample
from bench.recording import Run

DISTURBED = 0.12
BEST_OF: Mapping[str, tuple[str, ...]] = {"one-core": ("t1-",), "two-cores": ("t2-", "2x1-")}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and the least and the most among them."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """The spread of *values*; None when there are none."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


def speeds(run: Run, work: str, server: str, cell: str) -> dict[int, float]:
    """Answers a second by round. The server `raw` has the settings of `limits.raw` as cells, and `two-cores` and
    `one-core`, the best of those with two threads and with one."""
    if server != RAW or cell not in BEST_OF:
        return {number: one.per_second for number, one in run.of(work, server, cell).items()}
    best: dict[int, float] = {}
    for one in run.samples:
        if (one.work, one.server) == (work, RAW) and one.cell.startswith(BEST_OF[cell]):
            best[one.round] = max(one.per_second, best.get(one.round, 0.0))
    return best


def ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread | None:
    """How many times *theirs* ours is, from pairs of the same round."""
    return Spread.of([ours[number] / theirs[number] for number in sorted(ours) if theirs.get(number)])


def spread(samples: Mapping[int, Sample], value: Callable[[Sample], float]) -> Spread | None:
    """The spread of one figure over the rounds."""
    return Spread.of([value(one) for one in samples.values()])


def disturbed(samples: Mapping[int, Sample]) -> bool:
    """Whether others used more than an eighth of the machine in most of the rounds."""
    return bool(samples) and statistics.median(one.others for one in samples.values()) > DISTURBED
