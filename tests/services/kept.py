"""A cache for tests: a dictionary whose answers can be made to wait."""

import asyncio
from collections.abc import Mapping, Sequence

from headrace.domain.ports import CacheLevel
from headrace.domain.tensors import Column

OneRow = Mapping[str, Column]


class Kept:
    """The Cache port over a dictionary. With *yields*, every call gives the loop a turn, as a remote cache would."""

    def __init__(self, *, yields: bool = False) -> None:
        self.values: dict[bytes, OneRow] = {}
        self.ttls: list[float] = []
        self.waits = yields

    def at_hand(self, key: bytes) -> OneRow | None:
        return None if self.waits else self.values.get(key)

    async def get(self, keys: Sequence[bytes]) -> Sequence[OneRow | None]:
        if self.waits:
            await asyncio.sleep(0)
        return [self.values.get(key) for key in keys]

    async def set(self, answers: Mapping[bytes, OneRow], ttl_s: float) -> None:
        if self.waits:
            await asyncio.sleep(0)
        self.ttls += [ttl_s] * len(answers)
        self.values.update(answers)

    def levels(self) -> Sequence[CacheLevel]:
        return [CacheLevel("kept")]

    async def close(self) -> None:
        self.values.clear()
