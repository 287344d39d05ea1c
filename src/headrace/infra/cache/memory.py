"""How are values kept in this process, within a number of bytes?"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

ENTRY_BYTES: Final = 240
"""What an entry costs beside its key and value: two bytes headers, a tuple, a float and a place in the table."""


class MemoryCache:
    """The Cache port in memory: the least recently used entries leave first.

    Keeps at most *max_bytes*, counting keys, values and `ENTRY_BYTES` for each entry. An entry past its time is
    never returned, and leaves when it is asked for or when its turn comes; no task runs in the background, and
    every operation takes constant time. *clock* gives seconds that never go backwards. For one event loop: no
    method waits, so callers never see one another's halves.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        if max_bytes < 0:
            raise ValueError(f"a cache cannot hold {max_bytes} bytes")
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """What the entries count for now."""
        return self._used_bytes

    async def get(self, key: bytes) -> bytes | None:
        """The value of *key*, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if self._clock() >= expires:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep *value* for *ttl_s* seconds; one too large for the whole cache is not kept at all."""
        self._drop(key)
        cost = _cost(key, value)
        if ttl_s <= 0 or cost > self._max_bytes:
            return
        self._entries[key] = (value, self._clock() + ttl_s)
        self._used_bytes += cost
        while self._used_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._used_bytes = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used_bytes -= _cost(key, entry[0])


def _cost(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
