"""What does the memory cache keep, and what does it let go of first?"""

import asyncio
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.infra.cache.columns import frozen
from headrace.infra.cache.memory import ENTRY_BYTES, MemoryCache


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def answer(size: int = 10) -> dict[str, Any]:
    return {"y": np.zeros((1, size), "uint8")}


def cost(key: bytes, size: int = 10) -> int:
    """What an entry counts for."""
    own = frozen(answer(size))
    assert own is not None
    return len(key) + own[1] + ENTRY_BYTES


def room_for(entries: int) -> int:
    """Bytes for that many entries of a one-byte key."""
    return entries * cost(b"a")


async def test_what_was_set_is_at_hand() -> None:
    cache = MemoryCache(10_000)

    await cache.set({b"a": answer()}, 60)

    assert cache.at_hand(b"a") is not None
    assert cache.at_hand(b"b") is None


async def test_an_entry_leaves_when_its_time_is_over() -> None:
    clock = Clock()
    cache = MemoryCache(10_000, clock)
    await cache.set({b"a": answer()}, 5)

    clock.now += 4.9
    before = cache.at_hand(b"a")
    clock.now += 0.1

    assert before is not None
    assert cache.at_hand(b"a") is None
    assert (len(cache), cache.used_bytes) == (0, 0)


async def test_the_least_recently_used_leaves_first() -> None:
    cache = MemoryCache(room_for(2))
    await cache.set({b"a": answer(), b"b": answer()}, 60)
    cache.at_hand(b"a")

    await cache.set({b"c": answer()}, 60)

    assert cache.at_hand(b"b") is None
    assert cache.at_hand(b"a") is not None
    assert cache.at_hand(b"c") is not None


async def test_a_large_answer_makes_room_for_itself() -> None:
    cache = MemoryCache(room_for(4))
    await cache.set({key: answer() for key in (b"a", b"b", b"c", b"d")}, 60)

    await cache.set({b"e": answer(10 + room_for(1))}, 60)

    kept = [cache.at_hand(key) is not None for key in (b"a", b"b", b"c", b"d", b"e")]
    assert kept == [False, False, True, True, True]


async def test_an_answer_larger_than_the_cache_is_not_kept_and_evicts_nothing() -> None:
    cache = MemoryCache(room_for(1))
    await cache.set({b"a": answer()}, 60)

    await cache.set({b"b": answer(11)}, 60)

    assert cache.at_hand(b"a") is not None
    assert cache.at_hand(b"b") is None


async def test_an_answer_that_cannot_be_kept_takes_the_old_one_with_it() -> None:
    cache = MemoryCache(room_for(2))
    for too_large, ttl_s in ((answer(10_000), 60), (answer(), 0), ({"y": [object()]}, 60)):
        await cache.set({b"a": answer()}, 60)

        await cache.set({b"a": too_large}, ttl_s)

        assert cache.at_hand(b"a") is None


async def test_a_cache_without_room_keeps_nothing() -> None:
    cache = MemoryCache(0)

    await cache.set({b"a": answer()}, 60)

    assert cache.at_hand(b"a") is None


async def test_a_closed_cache_is_empty() -> None:
    cache = MemoryCache(10_000)
    await cache.set({b"a": answer()}, 60)

    await cache.close()

    assert cache.at_hand(b"a") is None
    assert cache.used_bytes == 0


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        MemoryCache(-1)


SHAPES = {
    "a small array": lambda n: {"y": np.full((1, 3), n, "float32")},
    "a large array": lambda n: {"y": np.full((1, 2000), n, "float64")},
    "a label and a score": lambda n: {"label": [f"class {n}"], "score": np.array([n / 7])},
    "lists and mappings": lambda n: {"top": [[{"class_id": n, "confidence": 0.5, "class_name": f"class {n}"}] * 5]},
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_memory_that_it_really_takes_is_about_what_it_counts(shape: str) -> None:
    limit = 2_000_000
    cache = MemoryCache(limit)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(6_000):
            await cache.set({n.to_bytes(32, "big"): SHAPES[shape](n)}, 60)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert len(cache) > 10
    assert 0.5 * cache.used_bytes < taken < 1.2 * limit


operation = st.tuples(st.sampled_from([b"a", b"bb", b"ccc", b"dddd"]), st.integers(1, 80), st.integers(0, 3))


@given(st.lists(operation, max_size=60), st.integers(0, 4 * cost(b"a", 40)))
def test_the_bytes_kept_never_pass_the_limit_and_always_add_up(
    operations: list[tuple[bytes, int, int]], max_bytes: int
) -> None:
    clock = Clock()
    cache = MemoryCache(max_bytes, clock)
    latest: dict[bytes, int] = {}

    async def drive() -> None:
        for key, size, ttl_s in operations:
            await cache.set({key: answer(size)}, ttl_s)
            latest[key] = size
            clock.now += 0.5
            assert cache.used_bytes <= max_bytes
        kept = {key: found["y"].size for key in latest if (found := cache.at_hand(key))}  # type: ignore[union-attr]
        assert kept.items() <= latest.items()
        assert cache.used_bytes == sum(cost(key, size) for key, size in kept.items())

    asyncio.run(drive())
