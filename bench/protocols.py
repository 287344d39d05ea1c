"""What does each door of Headrace cost? JSON beside binary tensors, and gRPC beside a bare gRPC echo.

`python -m bench.protocols` measures them interleaved at 64 clients, with vectors of 784 numbers and pictures of
224 x 224 x 3.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import recording
from bench.cells import CELLS, Cell
from bench.comparing import ratio, speeds, spread
from bench.goals import verdict
from bench.load import missing_tools
from bench.measuring import Plan, measure
from bench.recording import Run
from bench.servers import DOORS, Server
from bench.tables import table, with_spread
from bench.work import Work, work


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times *against* the door called *name* must answer."""

    work: str
    name: str
    against: str
    at_least: float


GOALS: Sequence[Goal] = (
    Goal("medium", "headrace-binary", "headrace", 1.0),
    Goal("image", "headrace-binary", "headrace", 4.0),
    Goal("tiny", "headrace-grpc", "grpc-echo", 0.9),
    Goal("medium", "headrace-grpc", "grpc-echo", 0.9),
)
CELL = "c64"


def cells_for(one: Work, server: Server) -> list[Cell]:
    """The one cell, for the doors that some goal compares with this work."""
    needed = {name for goal in GOALS if goal.work == one.name for name in (goal.name, goal.against)}
    return [CELLS[CELL]] if server.name in needed else []


def as_text(run: Run) -> str:
    """Both sides of every goal, and how they compare, as Markdown."""
    rows = []
    for goal in GOALS:
        ours, theirs = (speeds(run, goal.work, name, CELL) for name in (goal.name, goal.against))
        found = ratio(ours, theirs)
        sides = [with_spread(spread(run.of(goal.work, name, CELL), lambda one: one.per_second))
                 for name in (goal.name, goal.against)]  # fmt: skip
        title = f"{DOORS[goal.name].title} beside {DOORS[goal.against].title}"
        rows.append([goal.work, title, *sides, f"{goal.at_least} x", f"{with_spread(found)} x" if found else "-",
                     verdict(found, goal.at_least, None)])  # fmt: skip
    return table(["model", "doors", "answers/s", "of the other", "at least", "measured", "verdict"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; 0 when every goal holds, 1 when not, 2 when the load is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.protocols", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement")
    chosen = parser.parse_args(arguments)
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    works = [work(name) for name in ("tiny", "medium", "image")]
    plan = Plan(works, list(DOORS.values()), cells_for, chosen.seconds, with_raw=False)
    run = None
    for record in measure(plan, chosen.rounds, time.monotonic() + 600):
        run = recording.save(record, chosen.seconds, name="protocols")
    if run is None:
        return 2
    text = as_text(run)
    print("\n" + text)
    for what, why in run.failures.items():
        print(f"not measured: {what}: {why}")
    return int("FALLS SHORT" in text or "not measured" in text)


if __name__ == "__main__":
    raise SystemExit(main())
