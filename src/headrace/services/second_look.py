"""Did a row fail for its own sake, or only beside a bad one? Asked once a large batch has come back with failures.

Finding the bad rows of a batch has a budget of calls, and when it is used up the rest of a part fail alike
(`domain/isolation.py`). Among requests each is searched by itself, and the first rows that are left are tried alone; in
a slice of a table they may be thousands. So rows that failed together run again, in ever smaller batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from headrace.domain.batch import Batch, join_columns, pick_rows
from headrace.domain.errors import EngineError
from headrace.domain.isolation import INDIVISIBLE
from headrace.domain.registry import PipelineRef
from headrace.services.context import RequestContext
from headrace.services.engine import Engine

SIZES: Final = (512, 32, 1)


async def run_fairly(engine: Engine, ref: PipelineRef, batch: Batch, request: RequestContext) -> Batch:
    """`Engine.run`, but no row fails because of its neighbours. *batch* must not have lost a row before.

    Where a whole round helps no row (the model is broken, not the data), there is no further one.
    """
    answer = await engine.run(ref, batch, request)
    for size in SIZES:
        rows = failed_together(answer.failures)
        if not rows:
            break
        rounds = []
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            part = Batch({name: pick_rows(column, some) for name, column in batch.columns.items()}, len(some))
            rounds.append((some, await engine.run(ref, part, request)))
        if not any(part.size for _, part in rounds):
            break
        answer = merged(answer, rounds)
    return answer


def failed_together(failures: Mapping[int, EngineError]) -> list[int]:
    """The rows whose error is that of others too, which says nothing about any of them."""
    shared = Counter(id(error) for error in failures.values())
    return sorted(
        row
        for row, error in failures.items()
        if (shared[id(error)] > 1 or not error.alone) and not isinstance(error, INDIVISIBLE)
    )


def merged(answer: Batch, rounds: Sequence[tuple[Sequence[int], Batch]]) -> Batch:
    """*answer* with what became of the rows that ran again, by their numbers in it."""
    failures = dict(answer.failures)
    helped: list[int] = []
    parts = [answer] if answer.size else []
    for rows, part in rounds:
        alive = part.positions if part.failures else range(part.size)
        helped += [rows[row] for row in alive or ()]
        failures.update({rows[row]: error for row, error in part.failures.items()})
        parts += [part] if part.size else []
    for row in helped:
        del failures[row]
    positions = [*(answer.positions or ()), *helped]
    order = np.argsort(positions).tolist()
    columns = {
        name: pick_rows(join_columns([part.columns[name] for part in parts]), order) for name in parts[0].columns
    }
    return Batch(columns, len(positions), failures=failures, positions=tuple(positions[row] for row in order))
