"""When does somebody's time run out next? One timer for the earliest of many deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Alarm:
    """Calls *ring* with the time at the earliest deadline that was set; it returns the next one, or None.

    Times are in seconds of the monotonic clock.
    """

    __slots__ = ("_ring", "_timer", "at")

    def __init__(self, ring: Callable[[float], float | None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self.at = float("inf")
        """When it rings next. One that is set for later than this changes nothing."""

    def set(self, deadline: float, now: float) -> None:
        """Ring at *deadline* at the latest."""
        if deadline < self.at:
            self.cancel()
            self.at = deadline
            self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - now), self._rings)

    def cancel(self) -> None:
        """Do not ring; what it would have called is let go of."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.at = None, float("inf")

    def _rings(self) -> None:
        self._timer, self.at = None, float("inf")
        now = time.monotonic()
        if (following := self._ring(now)) is not None:
            self.set(following, now)
