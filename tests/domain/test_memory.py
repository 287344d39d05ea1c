"""How many rows fit in memory: what is learned when a batch does not fit, and when it is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput, ModelFailure
from headrace.domain.isolation import isolate
from headrace.domain.memory import PROBE_AFTER_S, MemoryCap, out_of_memory


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Small:
    """A model whose memory holds *most* rows at a time; row -1 is too large even alone."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.calls: list[int] = []

    def __call__(self, batch: Batch) -> Batch:
        self.calls.append(batch.size)
        if batch.size > self.most or -1 in batch.columns["x"]:
            raise MemoryError
        return batch.with_columns(y=batch.columns["x"])


def run(model: Small, cap: MemoryCap, size: int = 64) -> list[int]:
    """The calls that one batch made."""
    before = len(model.calls)
    done = isolate(model, Batch({"x": list(range(size))}), "it", cap=cap)
    assert list(done.columns["y"]) == list(range(size))
    return model.calls[before:]


@given(st.integers(1, 64), st.integers(1, 200))
def test_a_size_that_did_not_fit_is_not_tried_again_at_once(most: int, size: int) -> None:
    model, cap = Small(most), MemoryCap(Clock())

    run(model, cap, size)
    again = run(model, cap, size)

    assert max(again) <= most
    assert sum(again) == size


def test_nothing_is_learned_while_everything_fits() -> None:
    cap = MemoryCap(Clock())

    assert run(Small(100), cap) == [64]
    assert (cap.rows, cap.events) == (None, 0)


def test_the_cap_is_what_fitted_and_every_call_that_did_not_is_counted() -> None:
    cap = MemoryCap(Clock())

    run(Small(20), cap)

    assert (cap.rows, cap.events) == (16, 3)


def test_a_larger_batch_is_probed_after_a_while_and_a_failed_probe_falls_back_to_what_fitted() -> None:
    model, clock = Small(20), Clock()
    cap = MemoryCap(clock)
    run(model, cap)
    assert cap.rows == 16

    clock.now += PROBE_AFTER_S
    run(model, cap)
    assert cap.rows == 20
    clock.now += PROBE_AFTER_S
    run(model, cap)
    assert cap.rows == 25
    run(model, cap)

    assert cap.rows == 20
    clock.now += PROBE_AFTER_S
    assert max(run(model, cap)) == 20
    assert cap.rows == 20, "after a probe that failed the next one comes later"
    clock.now += PROBE_AFTER_S
    run(model, cap)
    assert cap.rows == 25


def test_the_cap_goes_when_what_did_not_fit_fits_again() -> None:
    model, clock = Small(10), Clock()
    cap = MemoryCap(clock)
    run(model, cap)
    model.most = 1000

    for _ in range(40):
        clock.now += PROBE_AFTER_S
        run(model, cap)

    assert cap.rows is None
    assert run(model, cap) == [64]


def test_small_batches_prove_nothing() -> None:
    model, clock = Small(10), Clock()
    cap = MemoryCap(clock)
    run(model, cap)
    rows = cap.rows

    for _ in range(10):
        clock.now += PROBE_AFTER_S
        run(model, cap, 1)

    assert cap.rows == rows


@pytest.mark.parametrize("values", [[-1], [1, 2, 3, -1, 4, 5]])
def test_a_row_that_is_too_large_alone_says_nothing_about_batches(values: list[int]) -> None:
    cap = MemoryCap(Clock())

    done = isolate(Small(100), Batch({"x": values}), "it", cap=cap)

    assert isinstance(done.failures[values.index(-1)], ModelFailure)
    assert done.size == len(values) - 1
    assert cap.rows is None
    assert cap.events > 0


def test_where_no_row_fits_the_next_batch_is_not_halved_all_the_way_again() -> None:
    model, cap = Small(0), MemoryCap(Clock())
    isolate(model, Batch({"x": [1] * 8}), "it", cap=cap)
    model.calls.clear()

    isolate(model, Batch({"x": [1] * 8}), "it", cap=cap)

    assert model.calls == [1] * 8


def test_a_bad_row_in_a_batch_beyond_the_cap_still_fails_alone() -> None:
    cap = MemoryCap(Clock())
    run(Small(16), cap)

    def refusing(batch: Batch) -> Batch:
        if 40 in batch.columns["x"]:
            raise ValueError("forty")
        return batch.with_columns(y=batch.columns["x"])

    done = isolate(refusing, Batch({"x": list(range(64))}), "it", cap=cap)

    assert list(done.failures) == [40]
    assert list(done.columns["y"]) == [n for n in range(64) if n != 40]


def named(name: str, module: str = "torch", text: str = "") -> Exception:
    error: Exception = type(name, (Exception,), {"__module__": module})(text)
    return error


def caused(error: Exception) -> Exception:
    failure = ModelFailure("the model failed")
    failure.__cause__ = error
    return failure


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        named("OutOfMemoryError"),
        named("ResourceExhaustedError", "tensorflow"),
        named("Fail", "onnxruntime.capi", "Failed to allocate memory for requested buffer of size 8589934592"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=str,
)
def test_every_frameworks_way_to_say_it_is_understood_also_as_the_cause(error: Exception) -> None:
    assert out_of_memory(error)
    assert out_of_memory(caused(error))


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("wants a number, not the string 'out of memory'"),
        ValueError("could not convert string to float: 'out of memory'"),
        RuntimeError("shapes differ"),
        named("Fail", "onnxruntime.capi", "Invalid rank"),
    ],
    ids=str,
)
def test_what_a_caller_wrote_is_no_lack_of_memory(error: Exception) -> None:
    assert not out_of_memory(error)
