"""How are answers shared with other processes, through Redis?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.core.logging import logger
from headrace.domain.errors import InvalidConfig
from headrace.domain.ports import CacheLevel
from headrace.domain.tensors import Column
from headrace.infra.cache.availability import Availability
from headrace.infra.cache.columns import decode, encode
from headrace.infra.cache.gathering import Gathering
from headrace.infra.cache.url import CacheUrl

PREFIX: Final = b"headrace:answer:1:"
"""Before every key. The number is that of the form in which answers are written."""
AT_ONCE: Final = 128
"""Keys in one call."""
WAITING: Final = 4096
"""Answers that may wait to be written; beyond it they are not kept."""
LARGEST_BYTES: Final = 1024 * 1024
"""A larger answer would hold up all others for longer than it takes to compute most."""

log = logger(__name__)


class Found(NamedTuple):
    """An answer that is kept, and for how many seconds more."""

    columns: Mapping[str, Column]
    left_s: float


class _Entry(NamedTuple):
    key: bytes
    value: bytes
    ttl_ms: int


class RedisCache:
    """The Cache port over a Redis server; while that is down, slow or full, as an empty cache.

    A call may take *timeout_s*; one that takes longer, or fails, stops all further ones until the server answers
    again. Calls of one time go together, so two connections carry everything. A value begins with its own key: an
    answer that belongs to another question is none. Raises InvalidConfig without the library.
    """

    waits: Final = True

    def __init__(self, url: CacheUrl, timeout_s: float) -> None:
        self._client = _client(url, timeout_s)
        self._timeout_s = timeout_s
        self._availability = Availability(url.shown, self._ping)
        self._reads: Gathering[bytes, Found | None] = Gathering(self._read, AT_ONCE)
        self._writes: Gathering[_Entry, None] = Gathering(self._write, AT_ONCE)
        self._refused = False
        self._where = url.shown

    def at_hand(self, key: bytes) -> None:
        """Nothing is at hand."""

    async def get(self, keys: Sequence[bytes]) -> Sequence[Mapping[str, Column] | None]:
        """The answer of each of *keys*, or None. Waits for two calls at most."""
        return [None if found is None else found.columns for found in await self.find(keys)]

    async def find(self, keys: Sequence[bytes]) -> Sequence[Found | None]:
        """The same, with the time that each has left."""
        return await self._reads.ask(keys) if self._availability.up else [None] * len(keys)

    async def set(self, answers: Mapping[bytes, Mapping[str, Column]], ttl_s: float) -> None:
        """Keep *answers* for *ttl_s* seconds, as far as they can be written and are not too large."""
        ttl_ms = int(ttl_s * 1e3)
        if not self._availability.up or self._writes.waiting >= WAITING or ttl_ms <= 0:
            return
        encoded = {key: encode(columns) for key, columns in answers.items()}
        entries = [
            _Entry(key, key + value, ttl_ms)
            for key, value in encoded.items()
            if value is not None and len(value) <= LARGEST_BYTES
        ]
        if entries:
            await self._writes.ask(entries)

    def levels(self) -> Sequence[CacheLevel]:
        """This one."""
        return [CacheLevel("redis", self._availability.up, failures=self._availability.failures)]

    async def close(self) -> None:
        """Let go of the connections."""
        await self._reads.close()
        await self._writes.close()
        await self._availability.close()
        await self._client.aclose()

    async def _ping(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            await self._client.ping()

    async def _read(self, keys: Sequence[bytes]) -> Sequence[Found | None]:
        calls = self._client.pipeline(transaction=False)
        for key in keys:
            calls.get(PREFIX + key)
            calls.pttl(PREFIX + key)
        replies = await self._replies(calls)
        if replies is None:
            return [None] * len(keys)
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return [_found(key, value, left_ms) for key, (value, left_ms) in zip(keys, pairs, strict=True)]

    async def _write(self, entries: Sequence[_Entry]) -> Sequence[None]:
        calls = self._client.pipeline(transaction=False)
        for key, value, ttl_ms in entries:
            calls.set(PREFIX + key, value, px=ttl_ms)
        replies = await self._replies(calls) or []
        refusals = [reply for reply in replies if isinstance(reply, Exception)]
        if replies and bool(refusals) is not self._refused:  # it is full, or read-only
            self._refused = bool(refusals)
            if refusals:
                log.warning("the cache refuses to keep answers", cache=self._where, reason=str(refusals[0])[:200])
            else:
                log.info("the cache keeps answers again", cache=self._where)
        return [None] * len(entries)

    async def _replies(self, calls: Any) -> list[Any] | None:
        """What the server says to each of *calls*; None if it does not answer."""
        if not self._availability.up:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                replies: list[Any] = await calls.execute(raise_on_error=False)
        except Exception as error:  # whatever it is, requests go on without the cache
            self._availability.failed(error)
            return None
        return replies


def _found(key: bytes, value: Any, left_ms: Any) -> Found | None:
    if not isinstance(value, bytes) or not value.startswith(key) or not isinstance(left_ms, int) or left_ms <= 0:
        return None
    try:
        columns = decode(value[len(key) :])
    except ValueError:  # written by another version
        return None
    if any(not hasattr(column, "__len__") or len(column) != 1 for column in columns.values()):
        return None
    return Found(columns, left_ms / 1e3)


def _client(url: CacheUrl, timeout_s: float) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as ConnectionLost
    except ImportError:
        raise InvalidConfig("cache.url names a Redis server; install headrace[redis]") from None
    # Tried a second time only where a connection that lay idle turns out to be gone.
    retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,))
    return Redis.from_url(
        url.reveal(), socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=retry, client_name="headrace"
    )
