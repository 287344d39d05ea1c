"""What every cache promises: what was kept is found unchanged, for as long as it was meant to be, by nobody else."""

import asyncio
import secrets
import time
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contracts.cache.conftest import OpenCache

from headrace.domain.ports import Cache


def key() -> bytes:
    return secrets.token_bytes(32)


def numbers(*values: float) -> dict[str, Any]:
    return {"y": np.array([values], "float32")}


async def test_what_was_kept_is_found(cache: Cache) -> None:
    one, other, missing = key(), key(), key()

    await cache.set({one: numbers(1, 2), other: {"label": ["cat"], "score": np.array([0.5])}}, 60)
    found = await cache.get([other, missing, one])

    assert found[0] is not None and found[2] is not None
    assert found[0]["label"] == ["cat"] and found[0]["score"].tolist() == [0.5]  # type: ignore[union-attr]
    assert found[1] is None
    assert found[2]["y"].tolist() == [[1, 2]]  # type: ignore[union-attr]


async def test_what_is_at_hand_is_what_get_finds(cache: Cache) -> None:
    kept = key()
    await cache.set({kept: numbers(1)}, 60)

    at_hand, (found,) = cache.at_hand(kept), await cache.get([kept])

    assert found is not None
    assert at_hand is None or described(at_hand) == described(found)
    assert cache.at_hand(kept) is not None or cache.waits


async def test_an_answer_leaves_when_its_time_is_over(cache: Cache) -> None:
    short, long = key(), key()
    await cache.set({short: numbers(1)}, 0.05)
    await cache.set({long: numbers(2)}, 60)

    until = time.monotonic() + 5
    while (await cache.get([short]))[0] is not None:
        assert time.monotonic() < until

    assert cache.at_hand(short) is None
    assert (await cache.get([long]))[0] is not None


async def test_an_answer_without_time_is_not_kept(cache: Cache) -> None:
    kept = key()

    await cache.set({kept: numbers(1)}, 0)

    assert await cache.get([kept]) == [None]


async def test_a_new_answer_takes_the_place_of_the_old_one(cache: Cache) -> None:
    kept = key()

    await cache.set({kept: numbers(1)}, 60)
    await cache.set({kept: numbers(2)}, 60)

    (found,) = await cache.get([kept])
    assert found is not None and found["y"].tolist() == [[2]]  # type: ignore[union-attr]


async def test_an_answer_that_cannot_be_kept_is_simply_not_kept(cache: Cache) -> None:
    strange, plain = key(), key()

    await cache.set({strange: {"picture": [object()]}, plain: numbers(1)}, 60)

    found = await cache.get([strange, plain])
    assert found[0] is None
    assert found[1] is not None


async def test_nobody_can_change_what_is_kept(cache: Cache) -> None:
    kept, batch = key(), np.arange(6, dtype="float32").reshape(3, 2)
    given_lists = [[1, [2]]]
    await cache.set({kept: {"y": batch[1:2], "parts": given_lists}}, 60)

    batch[:] = 0
    given_lists[0].clear()
    for _ in range(2):
        (found,) = await cache.get([kept])
        assert found is not None
        assert (found["y"].tolist(), found["parts"]) == ([[2, 3]], [[1, [2]]])  # type: ignore[union-attr]
        if isinstance(found["y"], np.ndarray) and found["y"].flags.writeable:
            found["y"][:] = 9
        found["parts"][0].append("mine")


async def test_many_askers_at_once_each_get_their_own(cache: Cache) -> None:
    keys = [key() for _ in range(300)]
    await asyncio.gather(*(cache.set({one: numbers(n)}, 60) for n, one in enumerate(keys)))

    found = await asyncio.gather(*(cache.get([one]) for one in keys))

    assert [rows[0] and rows[0]["y"].tolist() for rows in found] == [[[n]] for n in range(300)]  # type: ignore[union-attr]


async def test_an_asker_that_leaves_disturbs_nobody(cache: Cache) -> None:
    keys = [key() for _ in range(20)]
    await cache.set({one: numbers(n) for n, one in enumerate(keys)}, 60)

    asking = [asyncio.ensure_future(cache.get([one])) for one in keys]
    await asyncio.sleep(0)
    for task in asking[::2]:
        task.cancel()
    found = await asyncio.gather(*asking[1::2])
    again = await cache.get(keys)

    assert [rows[0] and rows[0]["y"].tolist() for rows in found] == [[[n]] for n in range(1, 20, 2)]  # type: ignore[union-attr]
    assert [row and row["y"].tolist() for row in again] == [[[n]] for n in range(20)]  # type: ignore[union-attr]


async def test_it_says_that_it_is_well(cache: Cache) -> None:
    await cache.set({key(): numbers(1)}, 60)

    assert all(level.up and level.failures == 0 for level in cache.levels())
    assert {level.name for level in cache.levels()} <= {"memory", "redis"}


Cell = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.binary(max_size=5),
)
Dtype = st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint64", "bool", "<U3"])
Shape = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@st.composite
def columns(draw: st.DrawFn) -> Any:
    """A column of one row, as a model or a step may return it."""
    if draw(st.booleans()):
        return np.ones((1, *draw(Shape)), draw(Dtype))
    if draw(st.booleans()):
        return [np.ones(draw(Shape), draw(Dtype))[()]]
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    return [draw(st.recursive(Cell, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner)))]


def described(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.str, value.shape, value.tolist()
    if isinstance(value, list):
        return [described(item) for item in value]
    if isinstance(value, dict):
        return {name: described(item) for name, item in value.items()}
    return type(value).__name__, value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns())
def test_an_answer_comes_back_as_it_was_in_every_type(open_one: OpenCache, column: Any) -> None:
    async def scene() -> Any:
        cache, kept = open_one(), key()
        try:
            await cache.set({kept: {"y": column}}, 60)
            return (await cache.get([kept]))[0], cache.at_hand(kept)
        finally:
            await cache.close()

    found, at_hand = asyncio.run(scene())

    assert described(found) == described({"y": column})
    assert at_hand is None or described(at_hand) == described({"y": column})
