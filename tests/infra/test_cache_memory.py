"""What does the memory cache keep, and what does it let go of first?"""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.infra.cache.memory import ENTRY_BYTES, MemoryCache


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def room_for(entries: int, *, value: int = 10) -> int:
    """Bytes for that many entries of a one-byte key and a *value* of that length."""
    return entries * (1 + value + ENTRY_BYTES)


async def test_what_was_set_is_got() -> None:
    cache = MemoryCache(10_000)

    await cache.set(b"a", b"1", 60)

    assert await cache.get(b"a") == b"1"
    assert await cache.get(b"b") is None


async def test_an_entry_leaves_when_its_time_is_over() -> None:
    clock = Clock()
    cache = MemoryCache(10_000, clock)
    await cache.set(b"a", b"1", 5)

    clock.now += 4.9
    before = await cache.get(b"a")
    clock.now += 0.1

    assert before == b"1"
    assert await cache.get(b"a") is None
    assert (len(cache), cache.used_bytes) == (0, 0)


async def test_the_least_recently_used_leaves_first() -> None:
    cache = MemoryCache(room_for(2))
    for key in (b"a", b"b"):
        await cache.set(key, bytes(10), 60)
    await cache.get(b"a")

    await cache.set(b"c", bytes(10), 60)

    assert await cache.get(b"b") is None
    assert await cache.get(b"a") is not None
    assert await cache.get(b"c") is not None


async def test_a_large_value_makes_room_for_itself() -> None:
    cache = MemoryCache(room_for(4))
    for key in (b"a", b"b", b"c", b"d"):
        await cache.set(key, bytes(10), 60)

    await cache.set(b"e", bytes(ENTRY_BYTES + 21), 60)

    assert [await cache.get(key) is not None for key in (b"a", b"b", b"c", b"d", b"e")] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_a_value_larger_than_the_cache_is_not_kept_and_evicts_nothing() -> None:
    cache = MemoryCache(room_for(1))
    await cache.set(b"a", bytes(10), 60)

    await cache.set(b"b", bytes(11), 60)

    assert await cache.get(b"a") is not None
    assert await cache.get(b"b") is None


async def test_a_new_value_takes_the_place_of_the_old_one() -> None:
    cache = MemoryCache(room_for(1))
    await cache.set(b"a", bytes(10), 60)

    await cache.set(b"a", b"new", 60)

    assert await cache.get(b"a") == b"new"
    assert cache.used_bytes == 1 + 3 + ENTRY_BYTES


async def test_a_value_that_cannot_be_kept_takes_the_old_one_with_it() -> None:
    cache = MemoryCache(room_for(2))
    for too_large, ttl_s in ((bytes(10_000), 60), (b"short", 0)):
        await cache.set(b"a", b"old", 60)

        await cache.set(b"a", too_large, ttl_s)

        assert await cache.get(b"a") is None


async def test_a_cache_without_room_keeps_nothing() -> None:
    cache = MemoryCache(0)

    await cache.set(b"a", b"", 60)

    assert await cache.get(b"a") is None


async def test_a_closed_cache_is_empty() -> None:
    cache = MemoryCache(10_000)
    await cache.set(b"a", b"1", 60)

    await cache.close()

    assert await cache.get(b"a") is None
    assert cache.used_bytes == 0


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        MemoryCache(-1)


operation = st.tuples(st.sampled_from([b"a", b"bb", b"ccc", b"dddd"]), st.binary(max_size=80), st.integers(0, 3))


@given(st.lists(operation, max_size=60), st.integers(0, 4 * (ENTRY_BYTES + 40)))
def test_the_bytes_kept_never_pass_the_limit_and_always_add_up(
    operations: list[tuple[bytes, bytes, int]], max_bytes: int
) -> None:
    clock = Clock()
    cache = MemoryCache(max_bytes, clock)
    latest: dict[bytes, bytes] = {}

    async def drive() -> None:
        for key, value, ttl_s in operations:
            await cache.set(key, value, ttl_s)
            latest[key] = value
            clock.now += 0.5
            assert cache.used_bytes <= max_bytes
        kept = {key: value for key in latest if (value := await cache.get(key)) is not None}
        assert kept.items() <= latest.items()
        assert cache.used_bytes == sum(len(key) + len(value) + ENTRY_BYTES for key, value in kept.items())

    asyncio.run(drive())
