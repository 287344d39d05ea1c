"""A cache for tests: a dictionary whose answers can be made to wait."""

import asyncio


class Kept:
    """The Cache port over a dictionary. With *yields*, every call gives the loop a turn, as a remote cache would."""

    def __init__(self, *, yields: bool = False) -> None:
        self.values: dict[bytes, bytes] = {}
        self.ttls: list[float] = []
        self._yields = yields

    async def get(self, key: bytes) -> bytes | None:
        if self._yields:
            await asyncio.sleep(0)
        return self.values.get(key)

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        if self._yields:
            await asyncio.sleep(0)
        self.ttls.append(ttl_s)
        self.values[key] = value

    async def close(self) -> None:
        self.values.clear()
