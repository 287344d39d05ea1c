"""`headrace serve` whose numbers and traces go on and off while it runs, for `python -m bench.overhead`.

On SIGUSR1 it goes through its states again and again, a tenth of a second each, and notes for every round and state
how many requests came, how long that lasted and how much processor time it took; then it writes that to the file that
`NOTES` names. Two servers that are alike differ by some percent for as long as they live, and one server by as much
from second to second on a busy machine: what is compared is one server, a tenth of a second later.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from headrace.__main__ import main
from headrace.adapters.http.app import HttpDoor
from headrace.infra.telemetry import opentelemetry
from headrace.services.engine import Engine
from headrace.services.measures import Measures

NOTES: Final = "BENCH_NOTES"
ROUNDS: Final = "BENCH_ROUNDS"
STATES: Final = ("unmeasured", "unmeasured again", "metrics", "traces")
"""Without either, the same again, with numbers, with both."""
WINDOW_S: Final = 0.1
SETTLE_S: Final = 0.01
"""For what began in the state before; it is not counted."""
CYCLES: Final = 24
"""Each state's windows in a round. Tracing fills a delivery in about that time: most rounds hold the sending of one."""
NEVER_S: Final = 1e6
"""Spans are sent where there are enough of them, as they are if tracing goes on: while their own state lasts."""

_counting = Measures.request, Measures.batch
_engines: list[tuple[Engine, Any]] = []
_doors: list[HttpDoor] = []


def lasts_s(rounds: int) -> float:
    """How long all states take *rounds* times."""
    return rounds * CYCLES * len(STATES) * (WINDOW_S + SETTLE_S)


def _remember(kind: type, keep: Any) -> None:
    made = kind.__init__  # type: ignore[misc]

    def remembering(one: Any, *given: Any, **named: Any) -> None:
        made(one, *given, **named)
        keep(one)

    kind.__init__ = remembering  # type: ignore[misc]


def _take(state: str) -> None:
    number = STATES.index(state)
    Measures.request, Measures.batch = _counting if number >= 2 else (_nothing, _nothing)  # type: ignore[method-assign]
    for engine, witness in _engines:
        engine.witness = witness if number == 3 else None
        for ref in engine.registry:
            engine.registry.get(ref).batcher._witness = engine.witness


def _nothing(*_: Any, **__: Any) -> None:
    """What is counted when nothing is."""


def _asked() -> int:
    """How many requests came, read off the counter of their numbers, which is there in every state."""
    return int(repr(_doors[0]._numbers).strip("count()"))


def _go_through(rounds: int) -> None:
    notes: list[dict[str, list[float]]] = []
    orders = list(itertools.permutations(STATES))
    for turn in range(rounds * CYCLES):
        if turn % CYCLES == 0:
            notes.append({state: [0, 0, 0] for state in STATES})
        for state in orders[turn * 7 % len(orders)]:  # none always comes first, or follows the same one
            _take(state)
            time.sleep(SETTLE_S)
            before = _figures()
            time.sleep(WINDOW_S)
            window = [after - then for after, then in zip(_figures(), before, strict=True)]
            notes[-1][state] = [sum(both) for both in zip(notes[-1][state], window, strict=True)]
    Path(os.environ[NOTES]).write_text(json.dumps(notes))


def _figures() -> tuple[int, float, float]:
    """Requests that came, seconds that passed, seconds of processor time that were taken, each so far."""
    return _asked(), time.perf_counter(), time.process_time()


def _begin(*_: Any) -> None:
    threading.Thread(target=_go_through, args=(int(os.environ[ROUNDS]),), daemon=True).start()


if __name__ == "__main__":
    opentelemetry.EVERY_S = NEVER_S  # type: ignore[misc]
    _remember(Engine, lambda engine: _engines.append((engine, engine.witness)))
    _remember(HttpDoor, _doors.append)
    signal.signal(signal.SIGUSR1, _begin)
    sys.exit(main())
