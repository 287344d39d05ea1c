"""One answer for many who ask the same at once: who owes it, who waits, and who is next when the first one leaves."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from headrace.domain.errors import DeadlineExceeded, EngineError
from headrace.domain.tensors import Column

OneRow = Mapping[str, Column]
"""The columns of an answer to one row."""
Outcome = OneRow | EngineError


class Waiter:
    """A request that waits for rows that others owe; what comes is put into *found*, by the number of its row."""

    __slots__ = ("_bell", "_found", "_left", "gone", "handed")

    def __init__(self, found: list[Outcome | None]) -> None:
        self._found = found
        self._left = 0
        self._bell: asyncio.Future[None] | None = None
        self.handed: list[int] = []
        """The rows that are its own to ask for now: whoever owed them has left."""
        self.gone = False
        """Whether it waits no more."""

    @property
    def waits(self) -> bool:
        """Whether something is still owed to it."""
        return self._left > 0

    def expect(self) -> None:
        """Wait for one more row."""
        self._left += 1

    def told(self, row: int, outcome: Outcome) -> None:
        """A row has come."""
        self._found[row] = outcome
        self._left -= 1
        if self._left == 0:
            self._ring()

    def hand(self, row: int) -> None:
        """A row is its own to ask for."""
        self.handed.append(row)
        self._left -= 1
        self._ring()

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def wait(self, timeout_s: float | None) -> None:
        """Return when all rows have come or one was handed over. Raises DeadlineExceeded after *timeout_s*."""
        if self.handed or not self._left:
            return
        self._bell = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._bell], timeout=timeout_s)
        if not self._bell.done():
            raise DeadlineExceeded("the deadline passed while an equal request was being answered")


class Coming:
    """An answer to one row that is under way, and who waits for it, in the order in which they came."""

    __slots__ = ("_waiting", "outcome")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Waiter, int]] = deque()
        self.outcome: Outcome | None = None

    def join(self, waiter: Waiter, row: int) -> None:
        """*waiter* wants it too, as its *row*."""
        waiter.expect()
        if self.outcome is None:
            self._waiting.append((waiter, row))
        else:
            waiter.told(row, self.outcome)

    def tell(self, outcome: Outcome) -> None:
        """It has come, for everybody."""
        self.outcome = outcome
        for waiter, row in self._waiting:
            if not waiter.gone:
                waiter.told(row, outcome)
        self._waiting.clear()

    def tell_only(self, waiter: Waiter, outcome: Outcome) -> None:
        """It is what one of those who wait gets, and nobody else."""
        for one, row in self._waiting:
            if one is waiter:
                one.told(row, outcome)
        self._waiting = deque(pair for pair in self._waiting if pair[0] is not waiter)

    def hand_on(self) -> bool:
        """Whoever owed it does so no more: the first of those who wait owes it to the others. False if nobody waits."""
        while self._waiting:
            waiter, row = self._waiting.popleft()
            if not waiter.gone:
                waiter.hand(row)
                return True
        return False
