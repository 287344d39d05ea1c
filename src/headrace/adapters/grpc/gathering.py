"""When does a request go on? Together with those that arrive right behind it, where waiting for them pays.

grpc.aio hands over about one call in each turn of the event loop. Without this nearly every request would be a batch
of its own, and code would run for one request at a time, each time after gRPC's has pushed it out of the processor's
caches. Measured with 64 clients: little more than half the processor time per request with a model that does nothing
(`bench/protocols.py`), and twice the answers with one that keeps all processors busy, for a loop that is starved of
them hands over even less at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

LARGEST: Final = 32
"""Requests that go on together at most."""
QUIET_S: Final = 0.001
"""Seconds without anybody new, after which those who are there go on: what the loop's clock can tell apart."""
QUIET_TURNS: Final = 16
"""Turns of the loop likewise, after that: on a busy machine seconds may pass without a look at the connections."""
SOON: Final = 4
"""Groups until the callers are counted again."""
LATE: Final = 256
"""The same, at most, after the count was the same again and again."""


class Gathering:
    """Lets requests go on in groups, each of half the callers that there are: the others are being answered.

    Of all callers at once the last would find the first ones waiting, and clients and server would take turns. To
    count the callers, a group waits now and then until nobody comes any more; less and less often while that tells
    nothing new. A caller who is alone is a group of one and not kept waiting.
    """

    def __init__(self) -> None:
        self.wanted = 1
        self._counts: deque[int] = deque([1], 3)
        self._pause = self._until_count = SOON
        self._waiting: list[asyncio.Future[None]] = []
        self._seen = 0
        self._clock: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def join(self) -> asyncio.Future[None] | None:
        """What to await before going on; None to go on at once."""
        counting = self._until_count <= 0
        size = len(self._waiting) + 1
        if size >= (2 * LARGEST if counting else self.wanted):
            self._go(size)
            return None
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if self._clock is None:
            self._wait(size, loop)
        turn = loop.create_future()
        self._waiting.append(turn)
        return turn

    def _wait(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self._seen = size
        self._clock = loop.call_later(QUIET_S, self._look, loop, QUIET_TURNS)

    def _look(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """Let those who wait go on if nobody comes in so many turns either."""
        size = len(self._waiting)
        if size > self._seen:
            self._wait(size, loop)
        elif turns > 0:
            self._clock = loop.call_soon(self._look, loop, turns - 1)
        else:
            self._go(size)

    def _go(self, size: int) -> None:
        """Let those who wait go on; they are *size* with the one who has just come."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if self._until_count <= 0:
            self._learn(size)
        else:
            # Fewer than expected: perhaps some have left.
            self._until_count -= 1 if size >= self.wanted else self._until_count // 2 + 1
        group, self._waiting = self._waiting, []
        for turn in group:
            if not turn.done():
                turn.set_result(None)

    def _learn(self, callers: int) -> None:
        self._counts.append(callers)
        wanted = min(LARGEST, max(1, max(self._counts) // 2))
        self._pause = min(LATE, 2 * self._pause) if wanted == self.wanted else SOON
        self.wanted, self._until_count = wanted, self._pause
