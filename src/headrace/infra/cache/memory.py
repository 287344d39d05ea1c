"""How are answers kept in this process, within a number of bytes?"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from headrace.domain.ports import CacheLevel
from headrace.domain.tensors import Column
from headrace.infra.cache.columns import decode, frozen

ENTRY_BYTES: Final = 400
"""What an entry costs beside its key and values: the objects around them and a place in the table, as measured."""


class MemoryCache:
    """The Cache port in memory: the least recently used entries leave first.

    Keeps at most *max_bytes*, counting keys, values and `ENTRY_BYTES` for each entry. An entry past its time is
    never returned, and leaves when it is asked for or when its turn comes; no task runs in the background, and
    every operation takes constant time. *clock* gives seconds that never go backwards. For one event loop: no
    method waits, so callers never see one another's halves.
    """

    waits: Final = False

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        if max_bytes < 0:
            raise ValueError(f"a cache cannot hold {max_bytes} bytes")
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[Mapping[str, Column] | bytes, float, int]] = OrderedDict()
        self._used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """What the entries count for now."""
        return self._used_bytes

    def at_hand(self, key: bytes) -> Mapping[str, Column] | None:
        """The answer of *key*, or None. Its arrays are read-only."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        kept, expires, _ = entry
        if self._clock() >= expires:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return decode(kept) if isinstance(kept, bytes) else kept

    async def get(self, keys: Sequence[bytes]) -> Sequence[Mapping[str, Column] | None]:
        """The answer of each of *keys*, or None."""
        return [self.at_hand(key) for key in keys]

    async def set(self, answers: Mapping[bytes, Mapping[str, Column]], ttl_s: float) -> None:
        """Keep *answers* for *ttl_s* seconds; what is too large for the whole cache is not kept at all."""
        for key, columns in answers.items():
            self.keep(key, columns, ttl_s)

    def keep(self, key: bytes, columns: Mapping[str, Column], ttl_s: float) -> None:
        """Keep one answer, in the place of an older one."""
        self._drop(key)
        own = frozen(columns) if ttl_s > 0 else None
        if own is None:
            return
        cost = len(key) + own[1] + ENTRY_BYTES
        if cost > self._max_bytes:
            return
        self._entries[key] = (own[0], self._clock() + ttl_s, cost)
        self._used_bytes += cost
        while self._used_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def levels(self) -> Sequence[CacheLevel]:
        """This one."""
        return [CacheLevel("memory", used_bytes=self._used_bytes)]

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._used_bytes = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used_bytes -= entry[2]
