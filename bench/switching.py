"""`headrace serve` whose numbers and traces go on and off while it runs, for `python -m bench.overhead`.

On SIGUSR1 it goes through its states again and again, a second each, and notes for every one how many requests
came, how long it lasted and how much processor time it took; then it writes that to the file that `NOTES` names. Two
servers that are alike differ by some percent for as long as they live, and one server by as much from second to second
on a busy machine: what is compared is one server, a second later.
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
from headrace.services.engine import Engine
from headrace.services.measures import Measures

NOTES: Final = "BENCH_NOTES"
ROUNDS: Final = "BENCH_ROUNDS"
STATES: Final = ("unmeasured", "unmeasured again", "metrics", "traces")
"""Without either, the same again, with numbers, with both."""
WINDOW_S: Final = 1.0
SETTLE_S: Final = 0.03
"""For what began in the state before; it is not counted."""
SEND_S: Final = 0.08
"""So long before the end of a window its spans are sent: what that takes belongs to it, and would come later."""

_counting = Measures.request, Measures.batch
_engines: list[tuple[Engine, Any]] = []
_doors: list[HttpDoor] = []


def lasts_s(rounds: int) -> float:
    """How long all states take *rounds* times."""
    return rounds * len(STATES) * (WINDOW_S + SETTLE_S)


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


def _send_spans() -> None:
    for _, witness in _engines:
        witness.telemetry._awake.set()


def _asked() -> int:
    """How many requests came, read off the counter of their numbers, which is there in every state."""
    return int(repr(_doors[0]._numbers).strip("count()"))


def _go_through(rounds: int) -> None:
    notes: list[tuple[str, int, float, float]] = []
    orders = list(itertools.permutations(STATES))
    for turn in range(rounds):
        for state in orders[turn * 7 % len(orders)]:  # none always comes first, or follows the same one
            _take(state)
            _send_spans()  # of the state before
            time.sleep(SETTLE_S)
            asked, clock, processor = _asked(), time.perf_counter(), time.process_time()
            time.sleep(WINDOW_S - SEND_S)
            _send_spans()
            time.sleep(SEND_S)
            found = _asked() - asked, time.perf_counter() - clock, time.process_time() - processor
            notes.append((state, *found))
    Path(os.environ[NOTES]).write_text(json.dumps(notes))


def _begin(*_: Any) -> None:
    threading.Thread(target=_go_through, args=(int(os.environ[ROUNDS]),), daemon=True).start()


if __name__ == "__main__":
    _remember(Engine, lambda engine: _engines.append((engine, engine.witness)))
    _remember(HttpDoor, _doors.append)
    signal.signal(signal.SIGUSR1, _begin)
    sys.exit(main())
