"""What do numbers and traces cost? ``python -m bench.overhead``: tiny at 64 connections, with them and without.

One server is under load, and goes through four states again and again, a tenth of a second each: without its numbers,
the same again, with them, and with them and the spans of 1 % of its requests, which go to a collector in this process.
A round is two dozen times all of them, and gives a pair of figures a question. What is told is the median over all
rounds of the pairs' ratios, of answers a second and of processor time an answer, and between which two ratios that
median lies with 95 % confidence. A state and the same again are a pair too: what they seem to cost each other is what
this machine cannot tell from nothing just now.

Answers a second decide: that is what the goal is about.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import shutil
import signal
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.asking import Asking
from bench.cells import Cell
from bench.load import missing_tools
from bench.running import Running, free_port, running
from bench.servers import LAID_OUT, SERVERS, lay_out
from bench.switching import NOTES, ROUNDS, STATES, lasts_s
from bench.venvs import ROOT
from bench.work import work

LOGS = ROOT / "build" / "bench" / "logs"
CELL = Cell("c64", 64)
SHARE = 0.01
GOAL = 0.05
PAIRS = {
    "nothing": ("unmeasured", "unmeasured again"),
    "metrics": ("unmeasured", "metrics"),
    "traces": ("metrics", "traces"),
    "both": ("unmeasured", "traces"),
}
"""What costs how much: the variant without it, and the one with it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A state in one round: answers a second, and microseconds of the server's processor time an answer."""

    per_second: float
    cpu_us: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 if numbers and traces together cost less than the goal, 1 if more, 2 if none can tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="of some eleven seconds each")
    parser.add_argument("--quick", action="store_true", help="6 rounds: about a minute")
    chosen = parser.parse_args(arguments)
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    with _collecting() as collector:
        found = _measured(6 if chosen.quick else chosen.rounds, collector.port)
    print(f"{collector.deliveries} deliveries of spans, {collector.bytes / 1e6:.1f} MB")
    if not collector.deliveries:
        print("no span arrived: this says nothing about traces", file=sys.stderr)
        return 2
    for what, (without, with_it) in PAIRS.items():
        print(_line(what, found[without], found[with_it]))
    nothing, both = (
        throughput_loss(found[without], found[with_it]) for without, with_it in (PAIRS["nothing"], PAIRS["both"])
    )
    return verdict(nothing, both)


def verdict(nothing: Change, both: Change) -> int:
    """0 if numbers and traces cost less than the goal, 1 if more, 2 if a state and the same again differ by as much."""
    if nothing.least < -GOAL or nothing.most > GOAL:
        print(f"a state and the same again differ by {nothing}: this machine is too busy to tell", file=sys.stderr)
        return 2
    if both.least < GOAL < both.most:
        print(f"the goal of {GOAL:.0%} lies within the spread: more --rounds would tell")
    return 0 if both.median < GOAL else 1


@dataclass(frozen=True, slots=True)
class Change:
    """By which part of itself something grows: the median over the rounds, and its interval of 95 % confidence."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:+6.1%} ({self.least:+.1%} to {self.most:+.1%})"


def change(pairs: Iterable[tuple[float, float]]) -> Change:
    """How the second of each pair differs from the first.

    The interval is that of the sign test: each round falls on either side of the true median as a coin does. It is
    all that was seen where the rounds are fewer than six.
    """
    ratios = sorted(after / before - 1 for before, after in pairs)
    count, tail, outside = len(ratios), 0.0, 0
    while (tail := tail + math.comb(count, outside) / 2**count) <= 0.025:
        outside += 1
    outside = max(0, outside - 1)
    return Change(statistics.median(ratios), ratios[outside], ratios[-1 - outside])


def cpu_change(without: Sequence[Figures], with_it: Sequence[Figures]) -> Change:
    """How the processor time of an answer changes."""
    return change((a.cpu_us, b.cpu_us) for a, b in zip(without, with_it, strict=True))


def throughput_loss(without: Sequence[Figures], with_it: Sequence[Figures]) -> Change:
    """Which part of the answers a second is lost."""
    found = change((a.per_second, b.per_second) for a, b in zip(without, with_it, strict=True))
    return Change(-found.median, -found.most, -found.least)


def _line(what: str, without: Sequence[Figures], with_it: Sequence[Figures]) -> str:
    def middles(figure: Callable[[Figures], float], digits: int) -> str:
        return " -> ".join(f"{statistics.median(map(figure, side)):.{digits}f}" for side in (without, with_it))

    return (
        f"{what:8} processor time {cpu_change(without, with_it)}, {middles(lambda one: one.cpu_us, 1)} us; "
        f"throughput lost {throughput_loss(without, with_it)}, {middles(lambda one: one.per_second, 0)}/s"
    )


def _measured(rounds: int, collector: int) -> Mapping[str, list[Figures]]:
    asking = Asking(SERVERS["headrace"], work("tiny"))
    traced = _traced(lay_out(asking.work), f"http://127.0.0.1:{collector}")
    found: dict[str, list[Figures]] = {name: [] for name in STATES}
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        with _server(asking, traced, {NOTES: str(notes), ROUNDS: str(rounds)}) as server:
            asking.load(server.port, CELL, rate=0.0, seconds=2)
            server.process.send_signal(signal.SIGUSR1)
            load = asking.load(server.port, CELL, rate=0.0, seconds=math.ceil(lasts_s(rounds) * 1.05) + 1)
            assert not load.errors, f"{load.errors} requests failed"
        for a_round in json.loads(notes.read_text()):
            for state, (asked, lasted_s, processor_s) in a_round.items():
                found[state].append(Figures(asked / lasted_s, processor_s / asked * 1e6))
    return found


@contextlib.contextmanager
def _server(asking: Asking, workspace: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    port = free_port()
    main_file = str(workspace / "config" / "main.yaml")
    started = [sys.executable, "-m", "bench.switching", "serve", "--config", main_file]
    command = [*started, "--port", str(port), "--grpc-port", "0"]
    environment = {"PYTHONPATH": str(ROOT), **environment}
    with running(command, environment, port, asking.question(), log=LOGS / "overhead.log") as one:
        yield one


def _traced(plain: Path, endpoint: str) -> Path:
    """The same workspace with traces on."""
    folder = LAID_OUT / "tiny-traced"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(plain, folder)
    with (folder / "config" / "main.yaml").open("a") as main_file:
        main_file.write(f"\ntelemetry: {{otlp_endpoint: '{endpoint}', sample: {SHARE}}}\n")
    return folder


@dataclass
class _Collector:
    """Takes what comes and counts it."""

    port: int = 0
    deliveries: int = 0
    bytes: int = 0


@contextlib.contextmanager
def _collecting() -> Iterator[_Collector]:
    collector = _Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.bytes += len(self.rfile.read(int(self.headers["content-length"])))
            collector.deliveries += 1
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
