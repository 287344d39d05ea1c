"""Which of the requests that wait make the next batch, and how long may they wait for company?"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.services.context import Inputs
from headrace.services.entries import Entry
from headrace.services.placement import Placement
from headrace.services.weighing import NOTHING, Scales, Weight

MIDDLE: Final = 2**31
"""Where a request without a priority stands among those with one (1 goes first)."""
AGEING_S: Final = 1.0
"""How much earlier than one of the next lower priority among those that wait a request goes: the low ones wait
longer, and none for ever."""
LONGEST_GATHER_S: Final = 0.001
"""How long requests are gathered at most because more of them come, turn by turn of the loop."""
MARGIN: Final = 1.25
"""How much longer than expected a batch may take before an objective is missed."""


class Picked(NamedTuple):
    """The entries of the next batch, those whose time is over, how many callers had left, and the rows gone."""

    entries: list[Entry]
    expired: Sequence[Entry]
    departed: int
    rows: int


class Picking:
    """Chooses for one pipeline. Decides only: it takes entries out of the queue and tells nobody.

    Times are in seconds of the monotonic clock.
    """

    def __init__(self, pipeline: Pipeline, placement: Placement) -> None:
        batching = pipeline.spec.batching_or_default
        scales = Scales(pipeline)
        self.scales = scales if scales.useful else None
        self._placement = placement
        self._one_by_one = not pipeline.batched
        self._linger_s = batching.max_wait_ms / 1e3
        self._objective_s = None if batching.objective_ms is None else batching.objective_ms / 1e3
        self._plain = self.scales is None and self._objective_s is None

    def largest(self) -> int:
        """The most rows of one batch."""
        return 1 if self._one_by_one else self._placement.largest()

    def hold_s(self, pending: Sequence[Entry], rows: int, now: float) -> float:
        """How long the queue of *rows* rows may wait for company; 0 to run now."""
        if self._linger_s <= 0 or rows >= self._placement.largest() or self._dear_enough(pending):
            return 0.0
        return max(0.0, min(entry.queued_at for entry in pending) + self._longest_hold_s(rows) - now)

    def gathers(self, pending: Sequence[Entry], rows: int, now: float) -> bool:
        """Whether a queue of *rows* rows, some of which have just come, should look for more that are on their way.

        Never for longer than what it may save: a call.
        """
        if rows >= min(self._placement.enough_rows, self.largest()):
            return False
        call_s, _ = self._placement.line()
        return now - pending[0].queued_at < min(call_s, LONGEST_GATHER_S)

    def next_rows(self, pending: Sequence[Entry], rows: int) -> int:
        """About how many rows the next batch will have; a request is never split."""
        return max(min(rows, self.largest()), pending[0].inputs.rows)

    def slice_rows(self, whole: Batch, start: int) -> int:
        """How many rows of bulk work, from *start* on, make the next slice."""
        if self._one_by_one:
            return 1
        rows = min(self._placement.bulk_rows(), whole.size - start)
        scales = self.scales
        if scales is None or scales.max_cost == math.inf:
            return rows
        weight = NOTHING
        for taken in range(rows):
            row = whole.take(start + taken, start + taken + 1)
            weight = scales.together(weight, scales.weigh(Inputs(row.columns, 1)))
            if taken and weight.cost > scales.max_cost:
                return taken
        return rows

    def take(self, pending: deque[Entry], now: float) -> Picked:
        """Take the entries that may share the next batch, without the departed and the expired."""
        if any(entry.priority for entry in pending):
            _in_order(pending)
        limit = self.largest()
        company = None if self._plain else Company(self.scales, self._placement, self._objective_s, now)
        picked: list[Entry] = []
        left: list[Entry] = []
        expired: list[Entry] = []
        rows = departed = gone = 0
        while pending:
            entry = pending.popleft()
            if entry.future.done():
                departed += entry.future.cancelled()
                gone += entry.inputs.rows
            elif now >= entry.deadline:
                expired.append(entry)
                gone += entry.inputs.rows
            elif picked and entry.key != picked[0].key:
                left.append(entry)
            elif picked and rows + entry.inputs.rows > limit:
                left.append(entry)
                break
            elif company is not None and not company.admits(entry):
                left.append(entry)
            else:
                picked.append(entry)
                rows += entry.inputs.rows
                if rows >= limit:
                    break
        pending.extendleft(reversed(left))
        return Picked(picked, expired, departed, rows + gone)

    def _dear_enough(self, pending: Iterable[Entry]) -> bool:
        """Whether what waits would fill a batch by its cost."""
        if self.scales is None or self.scales.max_cost == math.inf:
            return False
        return sum(entry.weight.cost for entry in pending) >= self.scales.max_cost

    def _longest_hold_s(self, rows: int) -> float:
        """How long the oldest request may wait altogether: its objective has to cover the run as well."""
        if self._objective_s is None:
            return self._linger_s
        if not self._placement.measured:
            return 0.0  # how long it will take is anybody's guess
        return min(self._linger_s, self._objective_s - MARGIN * self._placement.expected_s(rows))


class Company:
    """The requests of one batch while it is gathered: may one more be among them?

    The first always may. A further one must not make it dearer than `max_cost`, nor fill it up beyond `max_waste`,
    nor longer than leaves those in it within their objective. Who misses it in any case has no say in that.
    """

    def __init__(self, scales: Scales | None, placement: Placement, objective_s: float | None, now: float) -> None:
        self._scales = scales
        self._placement = placement
        self._objective_s = objective_s
        self._now = now
        self._weight = NOTHING
        self._own_cells = 0
        self._rows = 0
        self._spare_s = math.inf

    def admits(self, entry: Entry) -> bool:
        """Whether *entry* may join; it has joined when the answer is yes."""
        rows = self._rows + entry.inputs.rows
        if self._rows and self._objective_s is not None and not self._in_time(rows, self._objective_s):
            return False
        if self._scales is not None and not self._weighed(entry.weight, self._scales):
            return False
        self._rows = rows
        if self._objective_s is not None:
            spare_s = entry.queued_at + self._objective_s - self._now
            if MARGIN * self._placement.expected_s(entry.inputs.rows) <= spare_s:
                self._spare_s = min(self._spare_s, spare_s)
        return True

    def _in_time(self, rows: int, objective_s: float) -> bool:
        return MARGIN * self._placement.expected_s(rows) <= min(objective_s, self._spare_s)

    def _weighed(self, weight: Weight, scales: Scales) -> bool:
        joint = scales.together(self._weight, weight)
        own_cells = self._own_cells + scales.cells(weight)
        if self._rows and (joint.cost > scales.max_cost or not scales.shares(own_cells, scales.cells(joint))):
            return False
        self._weight, self._own_cells = joint, own_cells
        return True


def _in_order(pending: deque[Entry]) -> None:
    """Sort by priority and age: each priority that waits counts as so much younger than the next higher one."""
    ranks = {priority: rank for rank, priority in enumerate(sorted({entry.priority or MIDDLE for entry in pending}))}
    ordered = sorted(pending, key=lambda entry: entry.queued_at + AGEING_S * ranks[entry.priority or MIDDLE])
    pending.clear()
    pending.extend(ordered)
