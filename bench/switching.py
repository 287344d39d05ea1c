"""`headrace serve` whose numbers and traces go on and off while it runs, for `python -m bench.overhead`.

It takes the state that stands in the file that `SWITCH` names whenever it gets SIGUSR1. Two servers that are alike
differ by some percent for as long as they live; one server does not differ from itself.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from headrace.__main__ import main
from headrace.services.engine import Engine
from headrace.services.measures import Measures

SWITCH: Final = "BENCH_SWITCH"
STATES: Final = ("unmeasured", "unmeasured again", "metrics", "traces")
"""Without either, the same again, with numbers, with both."""

_counting = Measures.request, Measures.batch
_engines: list[tuple[Engine, Any]] = []
_made = Engine.__init__


def _remembered(engine: Engine, *given: Any, **named: Any) -> None:
    _made(engine, *given, **named)
    _engines.append((engine, engine.witness))


def _nothing(*_: Any, **__: Any) -> None:
    """What is counted when nothing is."""


def _take_state(*_: Any) -> None:
    state = STATES.index(Path(os.environ[SWITCH]).read_text())
    Measures.request, Measures.batch = _counting if state >= 2 else (_nothing, _nothing)  # type: ignore[method-assign]
    for engine, witness in _engines:
        engine.witness = witness if state == 3 else None
        for ref in engine.registry:
            engine.registry.get(ref).batcher._witness = engine.witness


if __name__ == "__main__":
    Engine.__init__ = _remembered  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, _take_state)
    sys.exit(main())
