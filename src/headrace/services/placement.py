"""Where a batch should run and how large it may be, learned from how long batches took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from headrace.domain.memory import MemoryCap
from headrace.domain.spec import Auto, Placing

INLINE_BELOW_S = 200e-6
"""Below this a hop to a thread and back costs more than the work itself."""
BULK_SLICE_S = 0.025
"""How long a slice of bulk work may keep real time waiting."""
LARGEST_INLINE = 256
LARGEST_IN_THREAD = 32
LARGEST_BULK = 16_384
FASTER, SLOWER = 0.3, 0.02
"""How much of a new duration counts. What slows a batch down is mostly the neighbours on the machine, and a pipeline
that was sent to a thread for it would be timed there, among more of them: so the fast ones count for more."""
WORTHY: Final = 2.0
"""How many times as long as the call itself its rows take in a batch that need not grow."""
LOOP_S: Final = 100e-6
"""What a request costs the loop outside its batch, about: reading and answering some kilobytes."""
REDRAW: Final = 0.1
"""The line is drawn anew when a typical duration has changed by more than this part of it."""


class Placement:
    """A line duration = a + b*n through what batches of about each size took lately.

    Until something was measured, batches run in a thread: a slow model inline would stop everybody.
    """

    def __init__(self, max_size: int | Auto = "auto", cap: MemoryCap | None = None, pin: Placing = "auto") -> None:
        """*cap* knows how many rows fit in memory; no batch is made larger. *pin* says where batches run, however
        long they take."""
        self._max_size = max_size
        self._pin = pin
        self.cap = cap or MemoryCap()
        self._largest_seen = 0
        self._sizes: dict[int, tuple[float, float]] = {}
        """Rows and seconds of a typical batch, by the power of two that its rows reach."""
        self._line: tuple[float, float] | None = (0.0, 0.0)
        self._short_up_to = 0.0
        """Rows from which on a batch is too long to run on the loop; 0 while nothing was measured."""
        self.enough_rows = math.inf
        """Rows from which on a batch in a thread need not grow: what the call itself takes is a small part of it."""
        self._most = self._together = 0
        """How many batches are worth running together, of how many; 0 while that is not known."""
        self._drawn: dict[int, float] = {}
        """The seconds by size that the line was drawn through."""

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch of *rows* that took *seconds*."""
        if rows == 0:
            return
        self._largest_seen = max(self._largest_seen, rows)
        size = rows.bit_length()
        typical_rows, typical_s = self._sizes.get(size, (rows, seconds))
        share = FASTER if seconds * typical_rows < typical_s * rows else SLOWER
        typical_s += share * (seconds - typical_s)
        self._sizes[size] = (typical_rows + share * (rows - typical_rows), typical_s)
        if abs(typical_s - self._drawn.get(size, 0.0)) > REDRAW * typical_s:
            self._line = None

    @property
    def measured(self) -> bool:
        """Whether there is anything to go by."""
        return bool(self._sizes)

    def line(self) -> tuple[float, float]:
        """(a, b) of duration = a + b*n, both in seconds and neither negative."""
        if self._line is None:  # asked for several times between two batches
            a, b = self._line = self._fitted()
            self._most = 0
            self._short_up_to = (INLINE_BELOW_S - a) / b if b > 0 else math.inf if a < INLINE_BELOW_S else 0.0
            self.enough_rows = WORTHY * a / b if b > 0 and self._short_up_to <= 1 else math.inf
        return self._line

    def _fitted(self) -> tuple[float, float]:
        self._drawn = {size: seconds for size, (_, seconds) in self._sizes.items()}
        points = _bounded([self._sizes[size] for size in sorted(self._sizes)])
        mean_n = sum(n for n, _ in points) / len(points)
        mean_t = sum(t for _, t in points) / len(points)
        spread = sum((n - mean_n) ** 2 for n, _ in points)
        if len(points) == 1 or spread < 0.25:  # one size alone: count all of it to the rows, which promises the least
            return 0.0, mean_t / mean_n
        slope = max(0.0, sum((n - mean_n) * (t - mean_t) for n, t in points) / spread)
        start = mean_t - slope * mean_n
        return (start, slope) if start >= 0 else (0.0, mean_t / mean_n)

    def expected_s(self, rows: int) -> float:
        """How long a batch of *rows* should take."""
        a, b = self.line()
        return a + b * rows

    def inline(self, rows: int) -> bool:
        """Whether a batch of *rows* should run on the loop itself: pinned there, or short enough."""
        return self._short(rows) if self._pin == "auto" else self._pin == "inline"

    def _short(self, rows: int) -> bool:
        if self._line is None:
            self.line()
        return rows < self._short_up_to

    def together(self, most: int) -> int:
        """How many batches of requests are worth running at the same time, of *most* for which there are processors.

        The loop that reads and answers needs a processor too, the more of it the cheaper the rows are: a batch that
        takes it away gets its rows the later for it. And more batches than the loop can fill are only smaller ones.
        """
        if self._line is None:
            self.line()
        if most != self._most:  # asked for with every request
            self._most, self._together = most, self._worth(most)
        return self._together

    def _worth(self, most: int) -> int:
        row_s = self.expected_s(self.largest()) / self.largest()
        if row_s <= 0:
            return most
        return max(1, min(most, round(most / (1 + LOOP_S / row_s)), math.ceil(row_s / LOOP_S)))

    def largest(self) -> int:
        """The most rows to put into one batch of requests."""
        if isinstance(self._max_size, int):
            return self._fitting(self._max_size)
        return self._fitting(LARGEST_INLINE if self._short(64) else LARGEST_IN_THREAD)

    def _fitting(self, rows: int) -> int:
        cap = self.cap.rows
        return rows if cap is None else min(rows, cap)

    def bulk_rows(self) -> int:
        """The most rows to put into one slice of bulk work.

        At most four times what was ever seen: a line through small batches says little about large ones.
        """
        limit = max(LARGEST_IN_THREAD, min(LARGEST_BULK, 4 * self._largest_seen))
        if isinstance(self._max_size, int):
            limit = min(limit, self._max_size)
        limit = self._fitting(limit)
        a, b = self.line()
        spare_s = max(BULK_SLICE_S - a, a)  # where a call alone takes that long, its rows may take as long again
        return limit if b * limit <= spare_s else max(1, int(spare_s / b))

    def describe(self) -> dict[str, Any]:
        """What has been learned, for people to look at; no durations before there is one."""
        a, b = self.line()
        return {
            "runs": "inline" if self.inline(1) else "thread",
            "call_ms": round(a * 1e3, 4) if self.measured else None,
            "row_ms": round(b * 1e3, 6) if self.measured else None,
            "largest_batch": self.largest(),
            "memory_cap": self.cap.rows,
        }


def _bounded(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """*points* by rows, none dearer than its rows in batches of the size before it: a large batch that was met once,
    at a bad moment, may never come again to be corrected."""
    bounded: list[tuple[float, float]] = []
    for rows, seconds in points:
        if bounded:
            rows_before, seconds_before = bounded[-1]
            seconds = min(seconds, seconds_before * rows / rows_before)  # noqa: PLW2901
        bounded.append((rows, seconds))
    return bounded
