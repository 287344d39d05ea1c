"""When may a slice of bulk work run? After every request, at the gate and at the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.services.gate import Gate


class BulkTurns:
    """The slices of one model's bulk work that run, and those that wait until *is_free* says that the model is."""

    __slots__ = ("_gate", "_is_free", "_turns", "running")

    def __init__(self, gate: Gate, is_free: Callable[[], bool]) -> None:
        self._gate = gate
        self._is_free = is_free
        self._turns: list[asyncio.Future[None]] = []
        self.running = 0

    async def enter(self) -> None:
        """Wait for a place at the gate and an instance of the model; `leave` gives both back."""
        while True:
            await self._gate.enter("bulk")
            if self._is_free():
                self.running += 1
                return
            self._gate.leave()  # never hold a place while waiting for the model
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            await turn

    def leave(self) -> None:
        """A slice is done."""
        self.running -= 1
        self._gate.leave()

    def look(self) -> None:
        """Somebody else has left the model: let those who wait look again."""
        turns, self._turns = self._turns, []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)
