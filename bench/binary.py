"""What do binary tensors save? The same server asked in JSON and in binary by turns: `python -m bench.binary`.

Both forms go to one running server, so that nothing but the body differs; `bench.protocols` starts one for each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence

from bench.asking import Asking
from bench.cells import CELLS
from bench.comparing import Spread, ratio
from bench.load import missing_tools
from bench.running import free_port, running
from bench.servers import DOORS, lay_out
from bench.venvs import ROOT
from bench.work import Work, work

CELL = CELLS["c64"]
JSON, BINARY = "headrace", "headrace-binary"
GOALS: Mapping[str, float] = {"medium": 1.0, "image": 4.0}
"""How many times its own JSON binary must reach, by work."""


def measured(asked: Work, rounds: int, seconds: int) -> Mapping[str, dict[int, float]]:
    """Answers a second by door and round; in every second round binary goes first."""
    main, port = lay_out(asked) / "config" / "main.yaml", free_port()
    command = [sys.executable, "-m", "headrace", "serve", "--config", str(main), "--port", str(port)]
    doors = {name: Asking(DOORS[name], asked) for name in (JSON, BINARY)}
    speeds: dict[str, dict[int, float]] = {name: {} for name in doors}
    log = ROOT / "build" / "bench" / "logs" / f"binary-{asked.name}.log"
    with running(command, {}, port, doors[BINARY].question(), log=log):
        for number in range(-1, rounds):  # the first one warms up
            for name in (JSON, BINARY) if number % 2 else (BINARY, JSON):
                doors[name].question().ask(port)  # answered once what the last load left behind is done
                seen = doors[name].load(port, CELL, rate=0.0, seconds=seconds)
                if seen.errors:
                    raise SystemExit(f"{asked.name}, {name}: {seen.errors} requests failed")
                if number >= 0:
                    speeds[name][number] = seen.per_second
                    print(f"  {asked.name:8} {name:16} {seen.per_second:8.0f}/s  p50 {seen.p50_ms:.2f} ms", flush=True)
    return speeds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when every goal holds, 1 when not, 2 when the load is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.binary", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=GOALS, default=list(GOALS), help="these models only")
    parser.add_argument("--rounds", type=int, default=5, help="how often both are measured")
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement")
    chosen = parser.parse_args(arguments)
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    held = True
    for name in chosen.models:
        speeds = measured(work(name), chosen.rounds, chosen.seconds)
        found = ratio(speeds[BINARY], speeds[JSON])
        if found is None:
            return 2
        held = held and found.median >= GOALS[name]
        print(_told(name, speeds, found))
    return int(not held)


def _told(name: str, speeds: Mapping[str, dict[int, float]], found: Spread) -> str:
    json, binary = (statistics.median(speeds[door].values()) for door in (JSON, BINARY))
    return (
        f"{name}: JSON {json:.0f}/s, binary {binary:.0f}/s; binary is {found.median:.2f} x "
        f"({found.least:.2f} to {found.most:.2f} in {found.rounds} rounds), wanted {GOALS[name]:.1f} x"
    )


if __name__ == "__main__":
    raise SystemExit(main())
