"""What does our gRPC door cost? A model that answers with its input, beside a bare grpc.aio echo of equal messages.

`python -m bench.grpc_door` runs both servers, each in a process of its own, and asks them by turns, several rounds,
with 64 calls at a time: from a grpc.aio client, all on one connection, and from `h2load`, each on its own. The first
is a service that calls another one; the second takes next to nothing of the machine, and leaves the server as the
limit.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench import grpc_messages
from bench.comparing import ratio
from bench.load import grpc_loop, missing_tools
from bench.running import Question, Running, call, free_port, running
from bench.venvs import PEERS, ROOT

CALLS = 64
GOAL = 0.9
OURS, ECHO = "headrace", "echo"
WORKSPACE = Path(__file__).parent / "workspaces" / "mirror"
ROW = np.random.default_rng(7).random(784).round(4).tolist()
MESSAGE = grpc_messages.request("mirror", "x", ROW)
Load = Callable[[int, int], float]
"""Answers a second of the server on a port, asked for some seconds."""


def from_grpc_aio(port: int, seconds: int) -> float:
    """All calls on one connection of a grpc.aio client."""
    command = [sys.executable, "-m", "bench.grpc_client", str(port), str(CALLS), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, input=MESSAGE, capture_output=True, timeout=seconds + 30, check=True)
    return float(done.stdout)


def from_h2load(port: int, seconds: int) -> float:
    """Each call on a connection of its own."""
    url = f"http://127.0.0.1:{port}{grpc_messages.METHOD}"
    seen = grpc_loop(url, grpc_messages.framed(MESSAGE), connections=CALLS, seconds=seconds)
    return seen.per_second


LOADS: Mapping[str, Load] = {"grpc.aio client": from_grpc_aio, "h2load": from_h2load}


def commands(port: int, echo_port: int) -> Mapping[str, tuple[list[str], int, Mapping[str, str]]]:
    """How each server is started, on which port, and with which variables."""
    main = str(WORKSPACE / "config" / "main.yaml")
    serve = ["-m", "headrace", "serve", "--config", main, "--port", "0", "--grpc-port", str(port)]
    echo = [str(PEERS / "grpc_echo" / "server.py")]
    return {
        OURS: ([sys.executable, *serve], port, {}),
        ECHO: ([sys.executable, *echo], echo_port, {"BENCH_PORT": str(echo_port)}),
    }


def question(name: str) -> Question:
    """Both answer with the row that was sent; the echo with all of the message."""

    def ask(port: int) -> bytes:
        return call(Path(sys.executable), PEERS / "grpc_echo" / "ask.py", port, MESSAGE)

    def is_right(answer: bytes) -> bool:
        return answer == MESSAGE if name == ECHO else bool(np.allclose(grpc_messages.answer(answer), ROW))

    return Question(ask, is_right)


def measured(rounds: int, seconds: int) -> Iterator[tuple[str, int, str, float, float]]:
    """Load, round, server, answers a second, and microseconds of processor time for each; servers by turns."""
    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        for name, (command, port, environment) in commands(free_port(), free_port()).items():
            log = ROOT / "build" / "bench" / "logs" / f"grpc-door-{name}.log"
            servers[name] = stack.enter_context(running(command, environment, port, question(name), log=log))
        for number in range(-1, rounds):  # the first one warms up
            for load, ask in LOADS.items():
                for name in (OURS, ECHO) if number % 2 else (ECHO, OURS):
                    before = servers[name].cpu_s()
                    rate = ask(servers[name].port, seconds)
                    spent = (servers[name].cpu_s() - before) / (rate * seconds) * 1e6
                    if number >= 0:
                        yield load, number, name, rate, spent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when the goal holds under both loads, 1 when not, 2 when a load is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.grpc_door", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often both are measured")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    chosen = parser.parse_args(arguments)
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    rates: dict[tuple[str, str], dict[int, float]] = {}
    costs: dict[tuple[str, str], list[float]] = {}
    for load, number, name, rate, spent in measured(chosen.rounds, chosen.seconds):
        print(f"  {load:16} {name:9} {rate:8.0f}/s  {spent:6.0f} us", flush=True)
        rates.setdefault((load, name), {})[number] = rate
        costs.setdefault((load, name), []).append(spent)
    told = [_told(load, rates, costs) for load in LOADS]
    return 0 if all(told) else 1


def _told(
    load: str, rates: Mapping[tuple[str, str], dict[int, float]], costs: Mapping[tuple[str, str], list[float]]
) -> bool:
    """Print how both compare under one load; whether the goal holds."""
    found = ratio(rates[load, OURS], rates[load, ECHO])
    if found is None:
        return False
    ours, echo = (statistics.median(rates[load, name].values()) for name in (OURS, ECHO))
    spent, bare = (statistics.median(costs[load, name]) for name in (OURS, ECHO))
    print(
        f"{load}, {CALLS} calls of {len(MESSAGE)} bytes: {ours:.0f}/s beside {echo:.0f}/s of the echo, "
        f"{found.median:.2f} x ({found.least:.2f} to {found.most:.2f} in {found.rounds} rounds, wanted {GOAL} x); "
        f"{spent:.0f} us of processor time beside {bare:.0f} us"
    )
    return found.median >= GOAL


if __name__ == "__main__":
    raise SystemExit(main())
