"""Does Headrace reach what it has to? The cells that goals are set for, side by side: `python -m bench.goals`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import recording
from bench.cells import CELLS, Cell
from bench.comparing import Spread, ratio, speeds, spread
from bench.load import missing_tools
from bench.measuring import RAW, Plan, measure
from bench.recording import Run
from bench.servers import SERVERS, Server
from bench.tables import table, with_spread
from bench.work import Work, work

OURS = "headrace"
FASTAPI = ("fastapi-def", "fastapi-async")


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times *against* Headrace must answer, and is meant to, in one cell.

    *at_least* is 0 where there is only an aim. *against* are servers, of which the fastest counts, or one setting of
    raw ONNX Runtime; *beside* is the work that they are given where it is another one.
    """

    work: str
    cell: str
    against: tuple[str, ...]
    at_least: float
    aim: float | None = None
    raw: str = ""
    beside: str = ""

    @property
    def title(self) -> str:
        """What Headrace is compared with, in words."""
        if self.raw:
            return f"raw ONNX Runtime, {RAW_TITLES[self.raw]}"
        names = " or ".join(SERVERS[name].title for name in self.against)
        return f"{names}, not cached" if self.against == (OURS,) else names


RAW_TITLES: Mapping[str, str] = {"t1-b16": "one thread, batch 16", "two-cores": "two cores, best batch"}
GOALS: Sequence[Goal] = (
    Goal("tiny", "c64", ("echo",), 0.55, 1.2),
    Goal("tiny", "c64", ("mosec",), 0.9, 1.5),
    Goal("tiny", "c64", ("mlserver",), 12),
    Goal("tiny", "c64", ("fastapi-async",), 2.5),
    Goal("tiny", "c1", ("echo",), 0.50, 0.7),
    Goal("tiny", "c1", ("fastapi-def",), 3),
    Goal("tiny", "c1", ("mosec",), 12),
    Goal("medium", "c64", (), 0.62, 0.80, raw="t1-b16"),
    Goal("medium", "c64", ("mosec",), 1.0, 1.3),
    Goal("medium", "c64", ("mlserver", "mlserver-best"), 5),
    Goal("medium", "c64", FASTAPI, 5),
    Goal("medium", "c8", ("mosec",), 2, 3),
    Goal("medium", "c8", FASTAPI, 2.5, 3),
    Goal("minilm", "c64", (), 0.80, 0.92, raw="two-cores"),
    Goal("minilm", "c64", ("mosec",), 0.95, 1.1),
    Goal("minilm", "c64", ("mlserver", "mlserver-best"), 1.3),
    Goal("minilm", "c1", FASTAPI, 1.0, 1.2),
    Goal("tiny-cached", "c64", (OURS,), 1.0, beside="tiny"),
    Goal("tiny-cached", "c64", ("echo",), 0.0, 0.9, beside="tiny"),
)
PACED = ("tiny", "medium", "minilm")
WORKS = ("tiny", "tiny-cached", "medium", "minilm")


def cells_for(one: Work, server: Server) -> list[Cell]:
    """The cells that some goal needs of *server* with this work."""
    needed = {goal.cell for goal in GOALS if goal.work == one.name and server.name == OURS}
    needed |= {goal.cell for goal in GOALS if (goal.beside or goal.work) == one.name and server.name in goal.against}
    if one.name in PACED and server.name in (OURS, "echo"):
        needed |= {"c64", "rate"}
    return [cell for name, cell in CELLS.items() if name in needed]


def measured(run: Run, goal: Goal) -> Spread | None:
    """The ratio that *goal* is about, from pairs of the same round; None where one side was not measured."""
    ours, beside = speeds(run, goal.work, OURS, goal.cell), goal.beside or goal.work
    if goal.raw:
        return ratio(ours, speeds(run, beside, RAW, goal.raw))
    theirs: dict[int, float] = {}
    for name in goal.against:
        for number, value in speeds(run, beside, name, goal.cell).items():
            theirs[number] = max(value, theirs.get(number, 0.0))
    return ratio(ours, theirs)


def verdict(found: Spread | None, at_least: float, aim: float | None) -> str:
    """What the median says, in words."""
    if found is None:
        return "not measured"
    if aim is not None and found.median >= aim:
        return "aim reached"
    if not at_least:
        return "below the aim"
    return "holds" if found.median >= at_least else "FALLS SHORT"


def as_text(run: Run, wanted: Sequence[str] = ()) -> str:
    """Every goal that *run* says something about, as Markdown; of the works in *wanted* the others, too."""
    rows = []
    for goal in GOALS:
        found = measured(run, goal)
        if found is not None or goal.work in wanted:
            limits = [f"{limit} x" if limit else "-" for limit in (goal.at_least, goal.aim)]
            shown = f"{with_spread(found)} x" if found else "?"
            rows.append([goal.work, str(CELLS[goal.cell].connections), goal.title, *limits, shown,
                         verdict(found, goal.at_least, goal.aim)])  # fmt: skip
    head = ["model", "clients", "Headrace compared with", "at least", "aim", "measured", "verdict"]
    rates = [row for name in PACED if (row := _rate_row(run, name, wanted=name in wanted))]
    rate_head = ["model", "asked/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "p99 at most", "verdict"]
    return "\n\n".join(part for part in (table(head, rows), table(rate_head, rates)) if part)


def _rate_row(run: Run, name: str, *, wanted: bool) -> list[str]:
    """p99 at most the largest of 4 x p50, 3 x the echo's p99 at that rate and 10 ms; p95 under 50 ms, save minilm.

    Nothing where none was measured, unless it is *wanted*.
    """
    found, echo = run.of(name, OURS, "rate"), run.of(name, "echo", "rate")
    figures = {key: spread(found, lambda one, key=key: float(getattr(one, key)))  # type: ignore[misc]
               for key in ("rate", "per_second", "p50_ms", "p95_ms", "p99_ms")}  # fmt: skip
    p50, p95, p99 = (figures[key] for key in ("p50_ms", "p95_ms", "p99_ms"))
    beside = spread(echo, lambda one: one.p99_ms)
    if p50 is None or p95 is None or p99 is None:
        return [name, *["?"] * 6, "not measured"] if wanted else []
    limit = max(4 * p50.median, 3 * beside.median if beside else 0.0, 10.0)
    keeps_up = all(one.per_second >= 0.95 * one.rate for one in found.values())
    holds = keeps_up and p99.median <= limit and (p95.median < 50 or name == "minilm")
    return [name, *map(with_spread, figures.values()), f"{limit:.1f} ms", "holds" if holds else "FALLS SHORT"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; 0 when every goal holds, 1 when one does not, 2 when the load is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.goals", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=WORKS, default=list(WORKS), metavar="NAME")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement")
    parser.add_argument("--minutes", type=float, default=25.0, help="begin no round that would end later than this")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 1
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    works = [work(name) for name in WORKS if name in chosen.models]
    until = time.monotonic() + chosen.minutes * 60

    def cells(one: Work, server: Server) -> list[Cell]:
        return [cell for cell in cells_for(one, server) if cell.name in chosen.cells]

    needed = [server for server in SERVERS.values() if any(cells(one, server) for one in works)]
    plan = Plan(works, needed, cells, chosen.seconds, with_raw=True)
    run = None
    for record in measure(plan, chosen.rounds, until):
        run = recording.save(record, chosen.seconds, name="goals")
    if run is None:
        return 2
    text = as_text(run, chosen.models if set(chosen.cells) == set(CELLS) else ())
    print("\n" + text)
    for what, why in run.failures.items():
        print(f"not measured: {what}: {why}")
    return int("FALLS SHORT" in text or "not measured" in text or bool(run.failures))


if __name__ == "__main__":
    raise SystemExit(main())
