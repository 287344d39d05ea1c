"""The small table: rows leave with their error and their number, and come back in the order asked."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch, join_columns
from headrace.domain.errors import EngineError, InvalidInput, ModelFailure


def error(name: object) -> EngineError:
    return InvalidInput(str(name))


def told(batch: Batch) -> list[Any]:
    return [one.message if isinstance(one, EngineError) else one["x"] for one in batch.outcomes()]


def test_columns_of_different_length_make_no_batch() -> None:
    with pytest.raises(ModelFailure, match="'y' has 1 rows where 2"):
        Batch({"x": [1, 2], "y": [1]})


def test_rows_with_different_columns_make_no_batch() -> None:
    with pytest.raises(InvalidInput, match="differ"):
        Batch.from_rows([{"x": 1}, {"y": 1}])


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), max_size=4), st.integers(0, 8))
def test_whatever_leaves_and_when_every_row_is_told_its_own(rounds: list[list[bool]], size: int) -> None:
    batch = Batch({"x": list(range(size)), "y": np.arange(size)})
    expected: list[Any] = list(range(size))

    for number, leaves in enumerate(rounds):
        alive = [row for row, one in enumerate(expected) if not isinstance(one, str)]
        gone = {n: error(f"{number}.{alive[n]}") for n in range(len(alive)) if leaves[n % len(leaves)]}
        for n, left in gone.items():
            expected[alive[n]] = left.message
        batch = batch.without(gone)

    assert told(batch) == expected
    assert batch.size == len(batch.columns["x"]) == len(batch.columns["y"])


@given(st.lists(st.booleans(), max_size=10), st.lists(st.booleans(), max_size=10))
def test_what_became_of_the_rows_left_stands_under_their_first_numbers(first: list[bool], second: list[bool]) -> None:
    batch = Batch({"x": list(range(len(first)))}).without(
        {n: error("early") for n, leaves in enumerate(first) if leaves}
    )
    clean = Batch({"x": list(batch.columns["x"])}, batch.size)
    done = clean.without({n: error("late") for n, leaves in enumerate(second[: batch.size]) if leaves})

    after = batch.followed_by(done)

    late = iter(second[: batch.size] + [False] * batch.size)
    assert told(after) == ["early" if gone else "late" if next(late) else n for n, gone in enumerate(first)]


def test_a_copy_shares_no_value() -> None:
    batch = Batch({"x": [[1]], "y": np.array([1])})

    copied = batch.copy()
    copied.columns["x"][0].append(2)
    copied.columns["y"][0] = 5

    assert (batch.columns["x"], batch.columns["y"].tolist()) == ([[1]], [1])  # type: ignore[union-attr]


def test_parts_put_together_are_the_whole() -> None:
    batch = Batch({"x": [1, 2, 3], "y": np.arange(6).reshape(3, 2)})

    parts = batch.split([1, 0, 2])

    assert [part.size for part in parts] == [1, 0, 2]
    whole = Batch.concat(parts)
    assert whole.columns["x"] == [1, 2, 3]
    assert np.array_equal(whole.columns["y"], batch.columns["y"])
    with pytest.raises(ValueError, match="add up"):
        batch.split([1])


def test_arrays_that_agree_stay_an_array_and_others_become_a_list() -> None:
    ones = np.ones((2, 2), "int8")

    assert isinstance(join_columns([ones, ones]), np.ndarray)
    for other in (np.ones((1, 3), "int8"), np.ones((1, 2), "int16"), [1]):
        assert len(join_columns([ones, other])) == 3
        assert isinstance(join_columns([ones, other]), list)
