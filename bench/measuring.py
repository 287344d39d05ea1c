"""In which order is everything measured? Rounds; in each, every server in turn, started afresh for its cells."""

from __future__ import annotations

import functools
import itertools
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from bench import limits
from bench.asking import Asking
from bench.cells import RATE_SHARE, Cell
from bench.load import Load, LoadFailed
from bench.running import NotServing, Running, free_port, running
from bench.servers import Server, Tuning
from bench.venvs import ROOT, NotInstalled
from bench.work import Work

LOGS = ROOT / "build" / "bench" / "logs"
CORES = os.cpu_count() or 1
RAW = "raw"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. *others* is the share of the machine's processors that neither server nor load used."""

    round: int
    work: str
    server: str
    cell: str
    per_second: float
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    errors: int = 0
    rate: float = 0.0
    cpu_us: float = 0.0
    memory_mb: float = 0.0
    first_answer_s: float = 0.0
    others: float = 0.0


@dataclass(slots=True)
class Record:
    """Everything that was measured so far, and what could not be."""

    samples: list[Sample] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    rounds: int = 0

    def of(self, work: str, server: str, cell: str) -> list[Sample]:
        """The samples of one server in one cell, in the order of rounds."""
        return [one for one in self.samples if (one.work, one.server, one.cell) == (work, server, cell)]

    def maximum(self, work: str, server: str) -> float | None:
        """The median of what the server reached with 64 clients; None before that was measured."""
        found = [one.per_second for one in self.of(work, server, "c64")]
        return statistics.median(found) if found else None


def aloud(line: str) -> None:
    """Print *line* at once, also into a pipe."""
    print(line, flush=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: for each work, each server with its cells; *say* is told of every step."""

    works: Sequence[Work]
    servers: Sequence[Server]
    cells: Callable[[Work, Server], Sequence[Cell]]
    seconds: int
    with_raw: bool
    say: Callable[[str], None] = aloud


def measure(plan: Plan, rounds: int, until: float) -> Iterator[Record]:
    """Run up to *rounds* rounds and yield the record after each one.

    A round is begun only when one as long as the longest so far would end before *until* (`time.monotonic`).
    """
    record, longest = Record(), 0.0
    pythons = _installed(plan, record)
    for number in range(rounds):
        began = time.monotonic()
        if number and began + longest > until:
            plan.say(f"no time for round {number + 1}: it would pass the limit")
            return
        plan.say(f"round {number + 1} of {rounds}")
        _round(plan, number, record, pythons)
        record.rounds = number + 1
        longest = max(longest, time.monotonic() - began)
        yield record


def _installed(plan: Plan, record: Record) -> Mapping[str, Path]:
    """The interpreter of every server that can be installed; the others are failures of the record."""
    pythons = {}
    for server in plan.servers:
        try:
            pythons[server.name] = server.python()
        except NotInstalled as error:
            record.failures[server.name] = f"not installed: {error}"
            plan.say(f"{server.title} is left out: {error}")
    return pythons


def _round(plan: Plan, number: int, record: Record, pythons: Mapping[str, Path]) -> None:
    for work in plan.works:
        if plan.with_raw:
            found = limits.raw(work.name)
            record.samples += [Sample(number, work.name, RAW, cell, value) for cell, value in found.items()]
        # Another one begins each round, so that no server always follows the same one.
        turn = number % len(plan.servers)
        for server in [*plan.servers[turn:], *plan.servers[:turn]]:
            if server.name in pythons and (cells := plan.cells(work, server)):
                _server(plan, record, Turn(number, Asking(server, work), pythons[server.name]), cells)


@dataclass(frozen=True, slots=True)
class Turn:
    """One server with one work in one round."""

    number: int
    asking: Asking
    python: Path


def _server(plan: Plan, record: Record, turn: Turn, cells: Sequence[Cell]) -> None:
    """Measure *cells*, with a fresh start for each group of them that is tuned alike."""
    server, work = turn.asking.server, turn.asking.work
    for tuning, alike in itertools.groupby(cells, lambda cell: server.tuning(work, cell)):
        try:
            for sample in _cells(plan, record, turn, tuning, list(alike)):
                record.samples.append(sample)
                plan.say(_line(sample))
        except (NotServing, LoadFailed) as error:
            record.failures[f"{server.title}, {work.name}"] = str(error)
            plan.say(f"  {work.name:12} {server.name:14} {error}")


def _cells(plan: Plan, record: Record, turn: Turn, tuning: Tuning, cells: Sequence[Cell]) -> Iterator[Sample]:
    asking, port = turn.asking, free_port()
    server, work = asking.server, asking.work
    start = (server.command(turn.python, work, port), server.environment(work, tuning, port))
    log = LOGS / f"{server.name}-{work.name}.log"
    with running(*start, port, asking.question(), log=log) as found:
        asking.load(port, _warm_up(cells), rate=0.0, seconds=1)
        for cell in cells:
            rate = RATE_SHARE * (_maximum(record, asking) or _probe(asking, port)) if cell.paced else 0.0
            load = functools.partial(asking.load, port, cell, rate=rate, seconds=plan.seconds)
            yield _watched(found, Sample(turn.number, work.name, server.name, cell.name, 0.0, rate=rate), load)


def _warm_up(cells: Sequence[Cell]) -> Cell:
    return Cell("warm-up", max(cell.connections for cell in cells))


def _maximum(record: Record, asking: Asking) -> float | None:
    """What 70 % is taken of: the server's own figure, and Headrace's for the echo that stands beside it."""
    return record.maximum(asking.work.name, "headrace" if asking.server.echoes else asking.server.name)


def _probe(asking: Asking, port: int) -> float:
    return asking.load(port, Cell("probe", 64), rate=0.0, seconds=1).per_second


def _watched(server: Running, sample: Sample, load: Callable[[], Load]) -> Sample:
    """*sample* with what the load saw and what the machine did in the meantime."""
    before, own, loads, began = _busy_s(), server.cpu_s(), _children_s(), time.monotonic()
    seen = load()
    took = time.monotonic() - began
    own, loads, busy = server.cpu_s() - own, _children_s() - loads, _busy_s() - before
    return replace(
        sample,
        per_second=seen.per_second,
        p50_ms=seen.p50_ms,
        p95_ms=seen.p95_ms,
        p99_ms=seen.p99_ms,
        errors=seen.errors,
        cpu_us=own * 1e6 / max(1.0, seen.per_second * took),
        memory_mb=server.memory_mb(),
        first_answer_s=server.first_answer_s,
        others=max(0.0, busy - own - loads) / (took * CORES),
    )


def _busy_s() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _children_s() -> float:
    """Processor time of children that have ended: the load generators."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _line(sample: Sample) -> str:
    pace = f" of {sample.rate:.0f} asked" if sample.rate else ""
    failed = f"  {sample.errors} failed" if sample.errors else ""
    return (
        f"  {sample.work:12} {sample.server:14} {sample.cell:5} {sample.per_second:9.0f}/s{pace}"
        f"  p50 {sample.p50_ms:.2f} ms  p99 {sample.p99_ms:.1f} ms{failed}"
    )
