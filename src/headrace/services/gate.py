"""Limits how many batches run at the same time; real time goes before bulk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

Lane = Literal["real_time", "bulk"]


class Gate:
    """A number of places and two lines before them. A place is held while a batch runs, never while one waits.

    Bulk work comes in slices and gives its place back after each, so that real time waits for at most one slice.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self._lines: dict[Lane, deque[Callable[[], None]]] = {"real_time": deque(), "bulk": deque()}

    def ask(self, lane: Lane, granted: Callable[[], None]) -> None:
        """Call *granted* as soon as a place is free, now if one is; it then owns the place until `leave`."""
        if self.taken < self.places:
            self.taken += 1
            granted()
            return
        self._lines[lane].append(granted)

    def leave(self) -> None:
        """Give a place back; the next in line gets it, real time first."""
        for lane in ("real_time", "bulk"):
            line = self._lines[lane]
            if line:
                line.popleft()()
                return
        self.taken -= 1

    async def enter(self, lane: Lane) -> None:
        """Wait for a place. A caller that leaves while waiting leaves the line, or passes the place on."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def granted() -> None:
            future.set_result(None)

        self.ask(lane, granted)
        try:
            await future
        except asyncio.CancelledError:
            if granted in self._lines[lane]:
                self._lines[lane].remove(granted)
            else:
                self.leave()
            raise

    @property
    def crowded(self) -> bool:
        """Whether anybody waits; any thread may ask."""
        return any(self._lines.values())

    @property
    def shared(self) -> bool:
        """Whether whoever holds a place is not the only one; any thread may ask."""
        return self.taken > 1

    def waiting(self, lane: Lane) -> int:
        """How many wait in a line."""
        return len(self._lines[lane])
