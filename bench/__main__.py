"""Measure every server side by side and write docs/benchmarks.md: `make bench`, or `python -m bench --help`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from bench import recording, report
from bench import work as works
from bench.cells import CELLS, Cell
from bench.load import missing_tools
from bench.measuring import Plan, Record, measure
from bench.servers import SERVERS, Server
from bench.venvs import NotInstalled
from bench.work import Work, work

MINUTES = 28.5
CACHED = "tiny-cached"
ALWAYS_PACED = ("headrace", "echo", "mosec")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line chooses; 0 when something was measured, 2 when the line or the machine is wrong."""
    chosen = _parser().parse_args(arguments)
    chosen.named = chosen.peers is not None
    chosen.peers = chosen.peers or list(SERVERS)
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 1
    if chosen.list:
        _list()
        return 0
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    found, began = [], time.monotonic()
    for name in chosen.models:
        try:
            found.append(work(name))
        except (NotInstalled, RuntimeError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    if not found:
        return 2
    if "tiny" in chosen.models and "headrace" in chosen.peers and not chosen.quick:
        found.append(work(CACHED))
    record = _measured(chosen, found, began)
    if record is None:
        return 2
    whole = not chosen.quick and set(chosen.peers) == set(SERVERS) and set(chosen.models) == set(works.NAMES)
    run = recording.save(record, chosen.seconds)
    print(report.as_text(run))
    if whole or chosen.write:
        report.write(run)
    print(f"done in {time.monotonic() - began:.0f} s")
    return 0


def _measured(chosen: argparse.Namespace, found: Sequence[Work], began: float) -> Record | None:
    """The record after the last round that there was time for; each round is kept on disk as it ends."""

    def cells(one: Work, server: Server) -> list[Cell]:
        """The chosen cells; the given rate takes long and says little of the rest, so they have it when asked for."""
        if one.name == CACHED:
            return [CELLS["c64"]] if server.name == "headrace" else []
        paced = chosen.named or server.name in ALWAYS_PACED
        return [CELLS[name] for name in chosen.cells if paced or not CELLS[name].paced]

    plan = Plan(found, [SERVERS[name] for name in chosen.peers], cells, chosen.seconds, with_raw=not chosen.quick)
    record = None
    for record in measure(plan, chosen.rounds, began + chosen.minutes * 60):
        recording.save(record, chosen.seconds)
    return record


def _list() -> None:
    for server in SERVERS.values():
        print(f"{server.name:14} {server.title}: {server.about}")
    print(f"models: {', '.join(works.NAMES)}\ncells: {', '.join(CELLS)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=SERVERS, metavar="NAME", help="these servers only (see --list)")
    parser.add_argument("--models", nargs="+", choices=works.NAMES, default=list(works.NAMES), metavar="NAME",
                        help="these models only")  # fmt: skip
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME",
                        help="c1, c8, c64 (clients in a closed loop), rate (70 %% of what c64 reached)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin no round that would end later than this")
    parser.add_argument("--quick", action="store_true", help="one round of one second, without the limits")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md after a partial run, too")
    parser.add_argument("--list", action="store_true", help="name the servers, models and cells")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
