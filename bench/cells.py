"""Under which load is a server measured?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RATE_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Cell:
    """A closed loop with *connections* clients; or, *paced*, a given rate: 70 % of what that loop reached."""

    name: str
    connections: int
    paced: bool = False

    @property
    def many(self) -> bool:
        """Whether there are so many clients that batches fill."""
        return self.connections > 8


CELLS: Mapping[str, Cell] = {
    cell.name: cell for cell in (Cell("c1", 1), Cell("c8", 8), Cell("c64", 64), Cell("rate", 64, paced=True))
}
"""Every cell by name, in the order in which a server meets them."""
