"""How are answers kept near and far: in this process, and where other processes find them too?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headrace.domain.ports import CacheLevel
from headrace.domain.tensors import Column
from headrace.infra.cache.memory import MemoryCache
from headrace.infra.cache.redis import RedisCache


class TwoLevels:
    """The Cache port over two others: what is not *near* is looked for *far*, and then near as long as it lives."""

    waits: Final = True

    def __init__(self, near: MemoryCache, far: RedisCache) -> None:
        self._near = near
        self._far = far
        self.at_hand = near.at_hand

    async def get(self, keys: Sequence[bytes]) -> Sequence[Mapping[str, Column] | None]:
        """The answer of each of *keys*, or None."""
        kept = {key: self._near.at_hand(key) for key in keys}
        missing = [key for key, columns in kept.items() if columns is None]
        if missing:
            for key, found in zip(missing, await self._far.find(missing), strict=True):
                if found is not None:
                    self._near.keep(key, found.columns, found.left_s)
                    kept[key] = found.columns
        return [kept[key] for key in keys]

    async def set(self, answers: Mapping[bytes, Mapping[str, Column]], ttl_s: float) -> None:
        """Keep *answers* in both for *ttl_s* seconds."""
        await self._near.set(answers, ttl_s)
        await self._far.set(answers, ttl_s)

    def levels(self) -> Sequence[CacheLevel]:
        """Both."""
        return [*self._near.levels(), *self._far.levels()]

    async def close(self) -> None:
        """Let go of both."""
        await self._near.close()
        await self._far.close()
