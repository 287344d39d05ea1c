"""When does a request go on? Together with those that arrive right behind it, where waiting for them pays.

grpc.aio hands over about one call in each turn of the event loop. Without this nearly every request would be a batch
of its own, and code would run for one request at a time, each time after gRPC's has pushed it out of the processor's
caches. Measured with 64 clients (`bench/grpc_door.py`): half the processor time per request.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

LARGEST: Final = 32
"""Requests that go on together at most: with more, clients and server would take turns."""
QUIET_S: Final = 500e-6
"""Seconds without anybody new, after which those who are there go on."""
QUIET_TURNS: Final = 16
"""Turns of the loop likewise: on a machine that is busy with other things, seconds alone pass without a look."""
TRUST: Final = 4
"""Groups that filled up before a larger one is tried."""
DISTRUST: Final = 256
"""The same, at most, after larger ones were tried in vain."""


class Gathering:
    """Lets requests go on in groups of a size that is learned: as many as usually come without a pause.

    A caller who is alone is a group of one and not kept waiting. Larger groups are tried now and then, and less and
    less often while that is in vain.
    """

    def __init__(self) -> None:
        self._wanted = 1
        self._full = 0
        self._until_trial = TRUST
        self._on_trial = False
        self._waiting: list[asyncio.Future[None]] = []
        self._seen = 0
        self._quiet_turns = 0
        self._quiet_until = 0.0

    @property
    def wanted(self) -> int:
        """How many requests a group waits for."""
        return self._wanted

    def join(self) -> asyncio.Future[None] | None:
        """What to await before going on; None to go on at once."""
        if self._wanted == 1 and not self._waiting:
            self._filled()
            return None
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._seen = 0
            loop.call_soon(self._turn, loop)
        turn = loop.create_future()
        self._waiting.append(turn)
        return turn

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """One turn of the loop has passed."""
        size = len(self._waiting)
        if size >= self._wanted:
            self._filled()
        elif self._quiet(size):
            self._fell_short(size)
        else:
            loop.call_soon(self._turn, loop)
            return
        group, self._waiting = self._waiting, []
        for turn in group:
            if not turn.done():
                turn.set_result(None)

    def _quiet(self, size: int) -> bool:
        """Whether nobody has come for a while."""
        if size > self._seen:
            self._seen, self._quiet_turns = size, 0
            self._quiet_until = time.monotonic() + QUIET_S
        self._quiet_turns += 1
        return self._quiet_turns > QUIET_TURNS and time.monotonic() >= self._quiet_until

    def _filled(self) -> None:
        """A group had as many as were wanted."""
        if self._on_trial:
            self._on_trial, self._until_trial = False, TRUST
        self._full += 1
        if self._full >= self._until_trial and self._wanted < LARGEST:
            self._full, self._on_trial = 0, True
            self._wanted = min(LARGEST, 2 * self._wanted)

    def _fell_short(self, size: int) -> None:
        """A group waited in vain for more than *size*."""
        if self._on_trial:
            self._on_trial, self._until_trial = False, min(DISTRUST, 2 * self._until_trial)
        self._full, self._wanted = 0, max(size, self._wanted * 3 // 4)
