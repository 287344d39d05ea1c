"""When does a request go on? Together with those that arrive right behind it, where waiting for them pays.

grpc.aio hands over one call in each turn of the event loop, so that without this every batch would have one row, and
every request its own batch. A few turns without work, some microseconds each, tell whether more are on their way.
"""

from __future__ import annotations

import asyncio
from typing import Final

import os, time
QUIET_S: Final = float(os.environ.get("PS","300e-6"))
"""Seconds without anybody new, after which those who are there go on."""
QUIET_TURNS: Final = int(os.environ.get("QT","16"))
"""Turns of the loop likewise: on a machine that is busy with other things, seconds alone pass without a look."""
LARGEST: Final = int(os.environ.get("LG","32"))
"""Requests that go on together at most."""
LONGEST_PAUSE: Final = int(os.environ.get("TA","256"))
"""Requests that go on at once, at most, after one that waited in vain."""


class Gathering:
    """Lets requests go on in groups.

    A caller who is alone is not kept waiting: whoever waited in vain lets the next ones go on at once, twice as many
    each time.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._at_once = 0
        self._pause = 1
        self._quiet_turns = 0
        self._quiet_until = 0.0
        self._seen = 0

    def join(self) -> asyncio.Future[None] | None:
        """What to await before going on; None to go on at once."""
        if self._at_once > 0:
            self._at_once -= 1
            return None
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if not self._waiting:
            self._seen = 0
            loop.call_soon(self._turn)
        turn = loop.create_future()
        self._waiting.append(turn)
        return turn

    def _turn(self) -> None:
        """One turn of the loop has passed."""
        size = len(self._waiting)
        now = time.monotonic()
        if size > self._seen:
            self._seen, self._quiet_turns, self._quiet_until = size, 0, now + QUIET_S
        self._quiet_turns += 1
        if size < LARGEST and (self._quiet_turns < QUIET_TURNS or now < self._quiet_until) and self._loop is not None:
            self._loop.call_soon(self._turn)
            return
        if size == 1:
            self._at_once = self._pause
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        else:
            self._pause = 1
        group, self._waiting = self._waiting, []
        for turn in group:
            if not turn.done():
                turn.set_result(None)
