"""What does an answer cost? The seconds of its batch on each device times their prices, shared among the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.domain.step import Took


@dataclass(frozen=True, slots=True)
class Cost:
    """An *amount* of *currency*, for *device_s* seconds of all devices together; *tokens* where they were counted."""

    amount: float
    currency: str
    device_s: float
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What one batch of *size* rows cost. *tokens* are those of each row, where there are any."""

    amount: float
    currency: str
    device_s: float
    size: int
    tokens: Sequence[int] | None = None

    def share(self, rows: range) -> Cost:
        """What falls to *rows* of the batch: by their tokens if any row has some, else each row the same."""
        part = len(rows) / self.size if self.size else 0.0
        tokens = None
        if self.tokens is not None and (total := sum(self.tokens)):
            tokens = sum(self.tokens[rows.start : rows.stop])
            part = tokens / total
        return Cost(self.amount * part, self.currency, self.device_s * part, tokens)


class Prices:
    """What a second of each device costs: ``{"cpu": 0.00002, "cuda": 0.0008}``. A device without a price is free."""

    def __init__(self, per_device_s: Mapping[str, float], currency: str) -> None:
        """A price for ``cuda`` holds for ``cuda:1`` as well, unless that has its own."""
        self.currency = currency
        self._per_device_s = per_device_s

    def batch(self, steps: Sequence[Took], size: int, device: str, tokens: Sequence[int] | None) -> BatchCost:
        """The cost of a batch: its model ran on *device*, all its other steps on the processor.

        Rows that failed have taken their time like the others and bear their share.
        """
        infer = sum(seconds for phase, _, seconds, _ in steps if phase == "infer")
        around = sum(seconds for phase, _, seconds, _ in steps if phase != "infer")
        amount = infer * self._price(device) + around * self._price("cpu")
        return BatchCost(amount, self.currency, infer + around, size, tokens)

    def _price(self, device: str) -> float:
        found = self._per_device_s.get(device)
        return self._per_device_s.get(device.partition(":")[0], 0.0) if found is None else found
