"""Where did the time of one request go? Parts without gaps on one clock, which therefore add up to the total."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from dataclasses import asdict
from typing import Any, Final

from headrace.services.context import Result

PARTS: Final = (
    "read", "decode", "prepare", "cache", "queue", "preprocess", "infer", "postprocess", "hand_over", "generate",
    "deliver", "render",
)  # fmt: skip
"""Every part that there may be, in the order in which a request goes through them."""
_DIGITS: Final = 4
"""Of a millisecond: ten rounded parts of a request that takes 100 us still add up."""


class Stopwatch:
    """The seconds of each part of one request. It exists only for a request that asks for an explanation.

    Each part lasts from the end of the one before, so nothing is counted twice and nothing left out. The clock is
    the one that the queue uses.
    """

    __slots__ = ("_last", "_started", "parts")

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._started = self._last = time.monotonic()

    def fork(self) -> Stopwatch:
        """One that has measured the same so far, for one of several that go on side by side."""
        twin = Stopwatch()
        twin.parts, twin._started, twin._last = dict(self.parts), self._started, self._last
        return twin

    @property
    def total_s(self) -> float:
        """Seconds from the first moment to the end of the last part."""
        return self._last - self._started

    def mark(self, part: str) -> None:
        """What began where the last part ended was *part*."""
        self._until(part, time.monotonic())

    async def following(self, work: Awaitable[Result]) -> Result:
        """What *work* comes to; up to now the request was decoded."""
        self.mark("decode")
        result = await work
        self.ran(result)
        return result

    def ran(self, result: Result) -> None:
        """What began where the last part ended was the way through the services that led to *result*."""
        now = time.monotonic()
        timing = result.timing
        begun = timing.started
        ended = begun + timing.run_s
        if result.cached or not self._last <= begun - result.queue_s <= ended <= now:
            # A kept answer, or that of an equal request: no batch of this request's own ran.
            self._until("cache" if result.cached else "prepare", now)
            return
        self._until("prepare", begun - result.queue_s)
        self._until("queue", begun)
        for phase, _, seconds, _ in timing.steps:
            self._add(phase, seconds)
        self._add("hand_over", timing.run_s - sum(seconds for _, _, seconds, _ in timing.steps))
        self._last = ended
        self._until("deliver", now)

    def milliseconds(self) -> dict[str, float]:
        """The parts in order, in milliseconds."""
        return {part: _ms(self.parts[part]) for part in PARTS if part in self.parts}

    def _until(self, part: str, moment: float) -> None:
        self._add(part, moment - self._last)
        self._last = moment

    def _add(self, part: str, seconds: float) -> None:
        self.parts[part] = self.parts.get(part, 0.0) + seconds


def explained(result: Result, watch: Stopwatch) -> dict[str, Any]:
    """Where the time of a request went, and who answered it."""
    timing = result.timing
    told = {
        "route": result.route,
        "cached": result.cached,
        "digest": result.digest,
        **timed(watch),
        "queue_ms": _ms(result.queue_s),
        "run_ms": _ms(timing.run_s),
        "batch_size": timing.batch_size,
        "steps": [{"phase": phase, "name": name, "ms": _ms(seconds)} for phase, name, seconds, _ in timing.steps],
    }
    if result.cost is not None:
        told["cost"] = {name: value for name, value in asdict(result.cost).items() if value is not None}
    return told


def timed(watch: Stopwatch) -> Mapping[str, Any]:
    """The total of *watch* and its parts."""
    return {"total_ms": _ms(watch.total_s), "parts": watch.milliseconds()}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, _DIGITS)
