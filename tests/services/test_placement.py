"""What is learned from how long batches took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.services.placement import BULK_SLICE_S, Placement


def learned(*batches: tuple[int, float], max_size: int | str = "auto") -> Placement:
    placement = Placement(max_size)  # type: ignore[arg-type]
    for rows, seconds in batches:
        placement.observe(rows, seconds)
    return placement


def test_nothing_runs_inline_before_it_was_measured() -> None:
    assert not Placement().inline(1)


def test_the_cost_of_a_call_and_of_a_row_are_told_apart() -> None:
    call, row = learned(*((n, 1e-3 + n * 1e-4) for n in (1, 4, 16, 32))).line()

    assert call == pytest.approx(1e-3, rel=1e-6)
    assert row == pytest.approx(1e-4, rel=1e-6)


def test_a_fast_pipeline_runs_inline_and_a_slow_one_does_not() -> None:
    assert learned((1, 20e-6), (32, 60e-6)).inline(32)
    assert not learned((1, 2e-3), (32, 5e-3)).inline(1)


def test_single_rows_alone_promise_nothing_about_large_batches() -> None:
    placement = learned(*[(1, 50e-6)] * 20)

    assert placement.inline(1)
    assert not placement.inline(64)
    assert learned(*[(1, 0.02)] * 20).bulk_rows() == 1


def test_a_batch_of_no_rows_teaches_nothing() -> None:
    assert not learned((0, 1e-6)).measured


def test_a_slice_of_bulk_work_takes_about_its_time() -> None:
    placement = learned(*((n, n * 1e-4) for n in (1, 50, 100, 200)))

    assert placement.expected_s(placement.bulk_rows()) == pytest.approx(BULK_SLICE_S, rel=0.05)


def test_a_call_that_is_slow_in_itself_still_gets_many_rows() -> None:
    placement = learned(*((n, 0.03 + n * 1e-4) for n in (1, 50, 100, 200)))

    assert placement.bulk_rows() == pytest.approx(300, abs=1)


def test_slices_grow_step_by_step_whatever_small_batches_promise() -> None:
    assert learned((1, 1e-3), (2, 1e-3)).bulk_rows() == 32
    assert learned((1, 1e-3), (100, 1e-3)).bulk_rows() == 400


def test_what_a_user_pins_holds() -> None:
    assert learned((1, 1e-6), (32, 1e-6), max_size=7).largest() == 7
    assert learned((1, 1e-6), (32, 1e-6), max_size=7).bulk_rows() == 7


@given(st.lists(st.tuples(st.integers(0, 20_000), st.floats(0, 100)), max_size=30), st.integers(1, 20_000))
def test_whatever_was_observed_every_size_is_positive_and_no_time_negative(
    batches: list[tuple[int, float]], rows: int
) -> None:
    placement = learned(*batches)

    assert placement.expected_s(rows) >= 0
    assert placement.largest() >= 1
    assert placement.bulk_rows() >= 1
    assert set(placement.describe()) == {"call_ms", "row_ms", "runs", "largest_batch", "memory_cap"}


def test_a_pipeline_that_was_slowed_down_by_others_finds_back_to_the_loop() -> None:
    placement = learned(*[(n, 60e-6) for n in (1, 8, 64)] * 10)

    for n in (1, 8, 64) * 10:
        placement.observe(n, 3e-3)
    for n in (1, 8, 64) * 10:
        placement.observe(n, 60e-6)

    assert placement.inline(64)


def test_a_pipeline_that_waits_never_counts_as_fast() -> None:
    placement = learned((1, 20e-6))

    for _ in range(200):
        placement.observe(1, 0.1)

    assert not placement.inline(1)


def test_one_large_batch_at_a_bad_moment_condemns_nobody() -> None:
    placement = learned((1, 20e-6), (16, 30e-6), (32, 35e-6), (64, 5e-3))

    assert placement.inline(64)


def test_a_pin_holds_whatever_was_measured() -> None:
    slow, fast = Placement(pin="inline"), Placement(pin="thread")
    slow.observe(64, 3.0)
    fast.observe(64, 1e-6)

    assert slow.inline(1)
    assert not fast.inline(1)
    assert (slow.describe()["runs"], fast.describe()["runs"]) == ("inline", "thread")
    assert slow.largest() < fast.largest(), "a slow batch on the loop should at least be a small one"


def test_no_durations_are_told_before_there_is_one() -> None:
    placement = Placement()

    told = placement.describe()
    placement.observe(1, 0.002)

    assert (told["call_ms"], told["row_ms"]) == (None, None)
    assert placement.describe()["row_ms"] == 2.0


def test_cheap_rows_leave_a_processor_to_the_loop_and_dear_ones_take_all() -> None:
    cheap = learned(*((n, 4e-4 + n * 7e-5) for n in (1, 8, 32)))
    dear = learned(*((n, 1e-3 + n * 2e-3) for n in (1, 8, 32)))

    assert [cheap.together(most) for most in (1, 2, 16)] == [1, 1, 1]
    assert [dear.together(most) for most in (1, 2, 16)] == [1, 2, 15]


def test_before_anything_was_measured_all_processors_are_used() -> None:
    assert Placement().together(4) == 4


def test_a_batch_is_large_enough_when_the_call_is_a_small_part_of_it() -> None:
    placement = learned(*((n, 1e-3 + n * 1e-4) for n in (1, 8, 32)))
    placement.line()

    assert placement.enough_rows == pytest.approx(20, rel=1e-3)


def test_what_runs_inline_never_needs_to_gather() -> None:
    placement = learned((1, 20e-6), (32, 60e-6))
    placement.line()

    assert placement.enough_rows == float("inf")
