"""The cache port, implemented: one file per place where answers are kept."""

from __future__ import annotations

from headrace.domain.ports import Cache
from headrace.infra.cache.memory import MemoryCache
from headrace.infra.cache.redis import RedisCache
from headrace.infra.cache.two_levels import TwoLevels
from headrace.infra.cache.url import CacheUrl

MEGABYTE = 1024 * 1024


def open_cache(url: CacheUrl, memory_mb: int, timeout_s: float) -> Cache:
    """The cache at *url*, with so much of this process's memory in front of it.

    Nothing is connected yet. Raises InvalidConfig without the library that it takes.
    """
    near = MemoryCache(memory_mb * MEGABYTE)
    if url.in_memory:
        return near
    far = RedisCache(url, timeout_s)
    return TwoLevels(near, far) if memory_mb else far
