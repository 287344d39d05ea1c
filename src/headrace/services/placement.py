"""Where a batch should run and how large it may be, learned from how long batches took."""

from __future__ import annotations

from headrace.domain.spec import Auto

INLINE_BELOW_S = 200e-6
"""Below this a hop to a thread and back costs more than the work itself."""
BULK_SLICE_S = 0.025
"""How long a slice of bulk work may keep real time waiting."""
LARGEST_INLINE = 256
LARGEST_IN_THREAD = 32
LARGEST_BULK = 16_384
_FORGET = 0.98


class Placement:
    """A running fit of duration = a + b*n over the batches of one pipeline, with older ones fading.

    Until something was measured, batches run in a thread: a slow model inline would stop everybody.
    """

    def __init__(self, max_size: int | Auto = "auto") -> None:
        self._max_size = max_size
        self._largest_seen = 0
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch of *rows* that took *seconds*."""
        if rows == 0:
            return
        self._largest_seen = max(self._largest_seen, rows)
        self._weight = self._weight * _FORGET + 1
        self._n = self._n * _FORGET + rows
        self._t = self._t * _FORGET + seconds
        self._nn = self._nn * _FORGET + rows * rows
        self._nt = self._nt * _FORGET + rows * seconds

    @property
    def measured(self) -> bool:
        """Whether there is anything to go by."""
        return self._weight > 0

    def line(self) -> tuple[float, float]:
        """(a, b) of duration = a + b*n, both in seconds and neither negative."""
        if not self.measured:
            return 0.0, 0.0
        mean_n, mean_t = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - mean_n * mean_n
        if spread < 0.25:  # batches of one size alone: count all of it to the rows, which promises the least
            return 0.0, mean_t / mean_n
        slope = max(0.0, (self._nt / self._weight - mean_n * mean_t) / spread)
        start = mean_t - slope * mean_n
        return (start, slope) if start >= 0 else (0.0, mean_t / mean_n)

    def expected_s(self, rows: int) -> float:
        """How long a batch of *rows* should take."""
        a, b = self.line()
        return a + b * rows

    def inline(self, rows: int) -> bool:
        """Whether a batch of *rows* is so short that it should run on the loop itself."""
        return self.measured and self.expected_s(rows) < INLINE_BELOW_S

    def largest(self) -> int:
        """The most rows to put into one batch of requests."""
        if isinstance(self._max_size, int):
            return self._max_size
        return LARGEST_INLINE if self.inline(64) else LARGEST_IN_THREAD

    def bulk_rows(self) -> int:
        """The most rows to put into one slice of bulk work.

        At most four times what was ever seen: a line through small batches says little about large ones.
        """
        limit = max(LARGEST_IN_THREAD, min(LARGEST_BULK, 4 * self._largest_seen))
        if isinstance(self._max_size, int):
            limit = min(limit, self._max_size)
        a, b = self.line()
        spare_s = max(BULK_SLICE_S - a, a)  # where a call alone takes that long, its rows may take as long again
        return limit if b * limit <= spare_s else max(1, int(spare_s / b))

    def describe(self) -> dict[str, float | int | bool]:
        """What has been learned, for people to look at."""
        a, b = self.line()
        return {
            "call_ms": round(a * 1e3, 4),
            "row_ms": round(b * 1e3, 6),
            "inline": self.inline(1),
            "largest_batch": self.largest(),
        }
