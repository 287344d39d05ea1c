"""What does Headrace cost at rest, and how soon does it answer? HTTP only, one worker, no extras, the tiny model.

`python -m bench.footprint` compares its resident memory with that of a bare process that holds the same ONNX session,
and takes the time from the start of its process to the first right answer.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import venvs
from bench.asking import Asking
from bench.cells import CELLS
from bench.comparing import Spread
from bench.load import LoadFailed
from bench.measuring import LOGS
from bench.running import free_port, running
from bench.servers import SERVERS, Tuning
from bench.tables import with_spread
from bench.work import Work, work

MOST_MB, MOST_S, AIM_S = 60.0, 1.5, 0.7


@dataclass(frozen=True, slots=True)
class Footprint:
    """One start: memory in MB bare, after the first answer and after a second of load; seconds to that answer."""

    bare_mb: float
    idle_mb: float
    loaded_mb: float
    first_answer_s: float


def footprint(python: Path, tiny: Work) -> Footprint:
    """Start the bare process and the server once each. Raises NotServing."""
    bare = _bare(python, tiny)
    server = SERVERS["headrace"]
    port, asking = free_port(), Asking(server, tiny)
    start = (server.command(python, tiny, port), server.environment(tiny, Tuning(), port))
    with running(*start, port, asking.question(), log=LOGS / "footprint.log") as found:
        idle = found.memory_mb()
        try:
            asking.load(port, CELLS["c64"], rate=0.0, seconds=1)
        except LoadFailed as error:
            print(f"no load: {error}")
        return Footprint(bare, idle, found.memory_mb(), found.first_answer_s)


def _bare(python: Path, tiny: Work) -> float:
    command = [str(python), str(Path(__file__).with_name("bare.py")), str(tiny.file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        return float(psutil.Process(child.pid).memory_info().rss / 1e6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a few starts and print medians; 0 when the goals hold, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often both are started")
    chosen = parser.parse_args(arguments)
    tiny, python = work("tiny"), venvs.headrace()
    found = [footprint(python, tiny) for _ in range(chosen.rounds)]
    over = Spread.of([one.idle_mb - one.bare_mb for one in found])
    loaded = Spread.of([one.loaded_mb - one.bare_mb for one in found])
    first = Spread.of([one.first_answer_s for one in found])
    assert over and loaded and first
    print(f"bare process with the session   {with_spread(Spread.of([one.bare_mb for one in found]))} MB")
    print(f"Headrace over it, first answer  {with_spread(over)} MB")
    print(f"Headrace over it, after load    {with_spread(loaded)} MB   at most {MOST_MB:.0f} MB")
    print(f"first right answer              {with_spread(first)} s    at most {MOST_S} s, aim {AIM_S} s")
    return int(loaded.median > MOST_MB or first.median > MOST_S)


if __name__ == "__main__":
    raise SystemExit(main())
