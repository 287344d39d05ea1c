"""How fast is the model itself? ONNX Runtime in a process of its own, without a server (`python -m bench.limits`)."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.peers.onnx_rows import Rows
from bench.work import Work, work

BATCHES = (1, 16, 32, 64)
SECONDS = 0.4


def raw(name: str) -> dict[str, float]:
    """Rows a second of the work called *name*, by setting: `t1-b16` is one thread with batches of 16, `t2` one session
    with two threads, `2x1` two sessions with a thread each. Measured in a process of its own."""
    command = [sys.executable, "-m", "bench.limits", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(name: str) -> None:
    """Measure and print one line of JSON."""
    wanted = work(name)
    one, two = Rows(str(wanted.file)), Rows(str(wanted.file))
    both = Rows(str(wanted.file), threads=2)
    found = {}
    for size in BATCHES:
        found[f"t1-b{size}"] = _rate([one], wanted, size)
        found[f"t2-b{size}"] = _rate([both], wanted, size)
        found[f"2x1-b{size}"] = _rate([one, two], wanted, size)
    print(json.dumps(found))


def _rate(models: Sequence[Rows], wanted: Work, size: int) -> float:
    """Rows a second when each of *models* is called again and again in a thread of its own."""
    rates = [0.0] * len(models)
    barrier = threading.Barrier(len(models))

    def run(place: int) -> None:
        call, batches, done = models[place], _batches(wanted, size), 0
        call(next(batches))
        barrier.wait()
        began, spent = time.perf_counter(), 0.0
        while spent < SECONDS:
            call(next(batches))
            done += size
            spent = time.perf_counter() - began
        rates[place] = done / spent

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def _batches(wanted: Work, size: int) -> itertools.cycle[Any]:
    """Ready batches: arrays where the rows are numbers, lists of texts (tokenised in the call) elsewhere."""
    rows = list(itertools.islice(itertools.cycle(wanted.rows), max(size, len(wanted.rows))))
    cut = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
    return itertools.cycle(cut if isinstance(rows[0], str) else [np.asarray(batch, np.float32) for batch in cut])


if __name__ == "__main__":
    main(sys.argv[1])
