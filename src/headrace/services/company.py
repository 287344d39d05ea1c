"""Do requests come one by one? Then each may run the moment it is there, and need not wait for the end of its turn."""

from __future__ import annotations

from typing import Final

ALONE_AFTER: Final = 16
"""So many batches of a single request in a row, and requests are taken to come one by one."""


class Company:
    """Who comes together with whom. *present* says that somebody came in this turn of the loop already."""

    __slots__ = ("_singles", "alone", "present")

    def __init__(self) -> None:
        self._singles = 0
        self.alone = False
        self.present = False

    def joined(self) -> None:
        """A request was queued; if another one came in the same turn, they do not come one by one any more."""
        self.alone = self.alone and not self.present

    def batch(self, requests: int) -> None:
        """A batch of so many *requests* begins."""
        self._singles = self._singles + 1 if requests == 1 else 0
        self.alone = self._singles >= ALONE_AFTER
