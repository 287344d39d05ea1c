"""Whose turn is it to enter a model that only one thread at a time may be in?"""

from __future__ import annotations

from headrace.services.gate import Gate


class ModelTurns:
    """One turn at a time, in the order in which they were asked for; waited for on the loop, never in a thread."""

    def __init__(self) -> None:
        self._line = Gate(1)

    async def enter(self) -> None:
        """Wait for a turn, which lasts until `leave`. A caller that leaves while waiting leaves the line."""
        await self._line.enter("real_time")

    def leave(self) -> None:
        """The turn is over."""
        self._line.leave()
