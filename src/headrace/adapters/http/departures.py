"""Which callers have left? Only requests older than 20 ms are watched: a watch for each costs more than it saves."""

from __future__ import annotations

import asyncio
from typing import Final

from headrace.adapters.http.call import Call
from headrace.adapters.http.swift import CALLER

PERIOD_S: Final = 0.02


class Departures:
    """Cancels the work for clients that closed their connection.

    A call joins after its body has been read, from when on only the end of the connection can arrive. Most calls
    are answered before the sweep looks at them, twice a period; for the few that are not, a task waits for the
    end. Cancelling the caller frees its place in the queue and disturbs nobody in its batch.
    """

    def __init__(self) -> None:
        self._young: list[Call] = []
        self._old: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None

    def join(self, call: Call) -> None:
        """Watch over *call*, which the current task answers, until it is answered."""
        if call.task is not None:
            return
        call.task = call.scope.get(CALLER) or asyncio.current_task()
        self._young.append(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._sweep)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for call in self._old:
            if not call.answered and call.watch is None:
                call.watch = loop.create_task(_cancel_when_gone(call))
        self._old, self._young = self._young, []
        self._timer = loop.call_later(PERIOD_S, self._sweep) if self._old else None


async def _cancel_when_gone(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
    if not call.answered and call.task is not None:
        call.departed = True
        call.task.cancel()
