"""One bad row is found and put aside, at a bounded cost and without a trace on the others."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.errors import DependencyFailure, EngineError, InvalidInput, ModelFailure
from headrace.domain.isolation import SINGLY, extra_calls, isolate
from headrace.domain.memory import MemoryCap


class Counted:
    """Doubles x and counts; raises what it is told for a batch with one of *bad* in it."""

    def __init__(self, *bad: int, raises: Exception | None = None, most: int = 10**9) -> None:
        self.bad, self.raises, self.most = bad, raises or ValueError("bad"), most
        self.calls = 0

    def __call__(self, batch: Batch) -> Batch:
        self.calls += 1
        if batch.size > self.most:
            raise MemoryError
        if set(self.bad) & set(batch.columns["x"]):
            raise self.raises
        return batch.with_columns(y=[2 * x for x in batch.columns["x"]])


def told(batch: Batch) -> list[Any]:
    return [type(one).__name__ if isinstance(one, EngineError) else one["y"] for one in batch.outcomes()]


@given(st.integers(1, 200), st.data())
def test_one_bad_row_fails_alone_at_a_bounded_cost(size: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, size - 1))
    run = Counted(bad)

    done = isolate(run, Batch({"x": list(range(size))}), "it")

    assert told(done) == ["ModelFailure" if n == bad else 2 * n for n in range(size)]
    assert run.calls <= 1 + (2 * math.log2(size) + 2 if size > 1 else 0)


@given(st.integers(1, 64), st.sets(st.integers(0, 63)), st.booleans())
def test_with_many_bad_rows_no_good_answer_is_wrong_and_no_bad_row_gets_one(
    size: int, bad: set[int], pure: bool
) -> None:
    run = Counted(*bad)

    done = isolate(run, Batch({"x": list(range(size))}), "it", pure=pure)

    assert run.calls <= 1 + extra_calls(size)
    for n, one in enumerate(told(done)):
        assert one == "ModelFailure" if n in bad else one in (2 * n, "ModelFailure")


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=12), st.sets(st.integers(0, 143)), st.booleans(),
    st.sets(st.integers(0, 143), max_size=5),
)  # fmt: skip
def test_among_requests_a_row_fails_for_its_own_sake_alone(
    sizes: list[int], bad: set[int], capped: bool, dropped: set[int]
) -> None:
    size, cap, run = sum(sizes), MemoryCap(), Counted(*bad)
    if capped:
        cap.ran_out(1, 16, 8)
    gone = {row: InvalidInput("gone before") for row in dropped if row < size}
    batch = Batch({"x": list(range(size))}).without(gone)

    done = isolate(run, batch, "it", cap=cap, requests=lambda: sizes)

    wanted = ["InvalidInput" if n in gone else "ModelFailure" if n in bad else 2 * n for n in range(size)]
    assert told(done) == wanted
    assert run.calls <= 1 + 2 * extra_calls(size) + 2 * size + math.ceil(size / 8)


def test_where_the_model_is_broken_for_everybody_it_costs_little_more_than_a_call_for_each() -> None:
    run = Counted(*range(64))

    isolate(run, Batch({"x": list(range(64))}), "it", requests=lambda: [1] * 64)

    assert run.calls <= 1 + extra_calls(64) + 64


def test_one_request_of_many_bad_rows_does_not_cost_a_call_for_each() -> None:
    run = Counted(*range(1000))

    done = isolate(run, Batch({"x": list(range(1001))}), "it", requests=lambda: [1000, 1])

    assert told(done) == ["ModelFailure"] * 1000 + [2000]
    assert run.calls <= 2 * (1 + extra_calls(1001)) + SINGLY + 1


def test_once_it_is_late_nothing_is_tried_any_more() -> None:
    run = Counted(*range(64))

    done = isolate(run, Batch({"x": list(range(64))}), "it", requests=lambda: [1] * 64, late=lambda: run.calls >= 20)

    assert run.calls == 20
    assert "DeadlineExceeded" in told(done)


def test_when_rows_are_tried_alone_what_says_nothing_about_a_row_ends_it() -> None:
    gone = DependencyFailure("the service is away")

    class Dying(Counted):
        def __call__(self, batch: Batch) -> Batch:
            if self.calls > 2 * extra_calls(64) + 2:
                self.calls += 1
                raise gone
            return super().__call__(batch)

    run = Dying(*range(64))
    done = isolate(run, Batch({"x": list(range(64))}), "it", requests=lambda: [64])

    assert gone in done.failures.values()
    assert run.calls <= 3 + 2 * extra_calls(64) + 1


@given(st.integers(1, 64), st.sets(st.integers(0, 63)))
def test_a_good_row_that_fails_beside_bad_ones_says_that_it_was_not_tried_alone(size: int, bad: set[int]) -> None:
    done = isolate(Counted(*bad), Batch({"x": list(range(size))}), "it")

    assert all(row in bad for row, error in done.failures.items() if error.alone)


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_batch_beyond_the_memory_is_halved_until_it_fits(size: int, most: int) -> None:
    run = Counted(most=most)

    assert told(isolate(run, Batch({"x": list(range(size))}), "it")) == [2 * n for n in range(size)]


def test_a_row_that_is_too_large_alone_fails_alone() -> None:
    assert told(isolate(Counted(most=0), Batch({"x": [1, 2]}), "it")) == ["ModelFailure"] * 2


def test_a_frameworks_own_word_for_memory_counts_too() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch.cuda has it."""

    def run(batch: Batch) -> Batch:
        if batch.size > 1:
            raise OutOfMemoryError
        return batch

    assert isolate(run, Batch({"x": list(range(64))}), "it").size == 64


@pytest.mark.parametrize("error", [DependencyFailure("away")])
def test_what_says_nothing_about_a_row_is_not_tried_again(error: EngineError) -> None:
    run = Counted(3, raises=error)

    done = isolate(run, Batch({"x": list(range(8))}), "it")

    assert set(done.failures.values()) == {error}
    assert run.calls == 1


def test_an_error_with_a_meaning_keeps_it_and_any_other_names_its_place() -> None:
    meant = isolate(Counted(1, raises=InvalidInput("one")), Batch({"x": [1]}), "step 'a'")
    other = isolate(Counted(1, raises=KeyError("k")), Batch({"x": [1]}), "step 'a'")

    assert isinstance(meant.failures[0], InvalidInput)
    assert isinstance(other.failures[0], ModelFailure)
    assert other.failures[0].message == "step 'a' raised KeyError: 'k'"


@pytest.mark.parametrize("values", [[1, 2, 3, -1], [5]])
def test_an_attempt_leaves_no_trace_on_what_was_given(values: list[int]) -> None:
    given_array = np.array(values)

    def in_place(batch: Batch) -> Batch:
        batch.columns["x"][:] += 1  # type: ignore[operator]
        if (np.asarray(batch.columns["x"]) == 0).any():
            raise ValueError("minus one")
        return batch

    done = isolate(in_place, Batch({"x": given_array}), "it")

    assert given_array.tolist() == values
    assert list(done.columns["x"]) == [value + 1 for value in values if value != -1]


def test_rows_lost_before_and_inside_are_each_under_their_number() -> None:
    def run(batch: Batch) -> Batch:
        if 4 in batch.columns["x"]:
            raise ValueError
        lost = {n: InvalidInput("two") for n, x in enumerate(batch.columns["x"]) if x == 2}
        return batch.with_columns(y=list(batch.columns["x"])).without(lost)

    batch = Batch({"x": [0, 1, 2, 3, 4, 5]}).without({0: DependencyFailure("zero")})

    assert told(isolate(run, batch, "it")) == ["DependencyFailure", 1, "InvalidInput", 3, "ModelFailure", 5]
