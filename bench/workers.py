"""How much more do two workers carry than one, for a model that holds the interpreter lock?

`python -m bench.workers` serves a pure-Python model of some milliseconds with one worker and with two, asks both in
turn, and compares the answers a second of each pair. It needs two cores that nobody else uses; the processor time that
the servers got, and what they answered in a second of it, tell whether they had them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.comparing import Spread
from bench.load import closed_loop
from bench.measuring import LOGS
from bench.running import Question, Running, free_port, post, running
from bench.tables import with_spread

LEAST = 1.6
MODEL = """
def predict(x):
    return {"y": [turned(value) for value in x]}


def turned(value):
    found = int(value)
    for step in range(60_000):
        found = (found * 31 + step) % 65_521
    return float(found)
"""
FILES = {
    "models/turned.py": MODEL,
    "config/models/turned.yaml": """type: python
path: models/turned.py:predict
input_spec:  [{name: x, shape: [-1], dtype: float64}]
output_spec: [{name: y, shape: [-1], dtype: float64}]
""",
    "config/main.yaml": "api: {grpc_port: 0}\n",
}
PATH = "/api/v1/models/turned/predict"
BODY = json.dumps({"inputs": {"x": 7.0}}).encode()
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of load: answers a second, and how many cores' time the server used."""

    per_second: float
    cores: float


def pairs(rounds: int, seconds: int, connections: int) -> tuple[list[Turn], list[Turn]]:
    """The turns of one worker and of two, by round. Raises NotServing or LoadFailed."""
    turns: tuple[list[Turn], list[Turn]] = ([], [])
    with ExitStack() as stack:
        workspace = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, text in FILES.items():
            (workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (workspace / name).write_text(text)
        servers = [stack.enter_context(_server(workspace, workers)) for workers in (1, 2)]
        for number in range(rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            for which in order:
                url = f"http://127.0.0.1:{servers[which].port}{PATH}"
                began, used = time.monotonic(), servers[which].cpu_s()
                load = closed_loop(url, [BODY], HEADERS, connections=connections, seconds=seconds)
                cores = (servers[which].cpu_s() - used) / (time.monotonic() - began)
                turns[which].append(Turn(load.per_second, cores))
    return turns


def _server(workspace: Path, workers: int) -> AbstractContextManager[Running]:
    port = free_port()
    config = str(workspace / "config" / "main.yaml")
    command = [sys.executable, "-m", "headrace", "serve", "--config", config, "--port", str(port)]
    question = Question(lambda asked: post(asked, PATH, BODY, HEADERS), lambda body: b'"outputs"' in body)
    log = LOGS / f"workers-{workers}.log"
    return running([*command, "--workers", str(workers)], {}, port, question, log=log)


def told(turns: Sequence[Turn]) -> str:
    """What some turns came to."""
    speed = with_spread(Spread.of([turn.per_second for turn in turns]))
    cores = with_spread(Spread.of([turn.cores for turn in turns]))
    rate = with_spread(Spread.of([turn.per_second / turn.cores for turn in turns]))
    return f"{speed} requests/s with {cores} cores, {rate} in a second of a core"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a few pairs and print them; 0 when two workers carry enough more, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="pairs")
    parser.add_argument("--seconds", type=int, default=5, help="of load, for each of a pair")
    parser.add_argument("--connections", type=int, default=16)
    chosen = parser.parse_args(arguments)
    one, two = pairs(chosen.rounds, chosen.seconds, chosen.connections)
    ratio = Spread.of([b.per_second / a.per_second for a, b in zip(one, two, strict=True)])
    assert ratio
    print(f"one worker    {told(one)}")
    print(f"two workers   {told(two)}")
    print(f"ratio         {with_spread(ratio)}   at least {LEAST}")
    return int(ratio.median < LEAST)


if __name__ == "__main__":
    raise SystemExit(main())
