"""Do casting, reshaping, renaming and scaling do what NumPy would, row by row, and refuse what cannot be done?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput
from headrace.domain.fit import StepUse, compose
from headrace.domain.step import step_type
from headrace.domain.steps import STEPS
from headrace.domain.steps.tensors import cast, rename, reshape, scale
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint16", "int64", "bool"])
def test_casting_is_numpys_within_range(dtype: Any, apply: Apply) -> None:
    values = np.array([[0, 1.75], [2, 100]], np.float32)

    after = apply("tensors.cast", {"x": values}, {"dtype": dtype}).columns["x"]

    assert after.dtype == dtype
    np.testing.assert_array_equal(after, values.astype(dtype))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([256.0], "uint8"), ([-1.0], "uint8"), ([np.nan], "int64"), ([np.inf], "int64"), ([2.0**63], "int64")],
)
def test_a_number_that_does_not_fit_is_refused_and_not_wrapped(values: list[float], dtype: Any) -> None:
    with pytest.raises(InvalidInput, match=f"which {dtype} cannot hold"):
        cast(np.array(values), dtype=dtype)


def test_text_is_no_number() -> None:
    with pytest.raises(InvalidInput, match="holds the string 'seven'"):
        cast(["seven"], dtype="int64")


def test_lists_and_rows_of_different_length_are_numbers_too(apply: Apply) -> None:
    after = apply("tensors.scale", {"x": [[1, 2], [3]]}, {"factor": 2}).columns["x"]

    assert [(row.dtype, row.tolist()) for row in after] == [(np.float32, [2, 4]), (np.float32, [6])]


@given(st.lists(st.integers(0, 100) | st.floats(-100, 100, width=32), min_size=1, max_size=6))
def test_the_type_of_a_row_does_not_depend_on_its_neighbours(values: list[float]) -> None:
    together = scale(values, factor=0.5)
    alone = [scale([value], factor=0.5) for value in values]

    assert {part.dtype.name for part in (together, *alone)} == {"float32"}  # type: ignore[union-attr]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_float64_stays_float64(apply: Apply) -> None:
    after = apply("tensors.scale", {"x": np.array([0.1])}, {"offset": 0.2}).columns["x"]

    assert after.dtype == np.float64
    assert after[0] == 0.1 + 0.2


@given(st.integers(1, 5), st.sampled_from([(2, 3, 4), (24,), (4, -1), (-1, 2, 2), (1, 24)]))
def test_reshaping_keeps_the_order_of_numbers(rows: int, shape: tuple[int, ...]) -> None:
    values = np.arange(rows * 24).reshape(rows, 6, 4)

    after = reshape(values, shape=shape)

    np.testing.assert_array_equal(after, values.reshape(rows, *shape))


def test_a_row_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"rows of shape \[63\] hold 63 numbers; \[8, 8\] cannot"):
        reshape(np.zeros((2, 63)), shape=(8, 8))


def test_names_can_be_swapped_and_rows_that_left_stay_away(apply: Apply) -> None:
    batch = Batch({"a": [1], "b": [2]}, failures={1: InvalidInput("gone")}, positions=(0,))

    swapped = rename(batch, a="b", b="a")

    assert swapped.columns == {"b": [1], "a": [2]}
    assert swapped.failures == batch.failures
    assert apply("tensors.rename", {"batch": [1]}, {"batch": "reads"}).columns == {"reads": [1]}


def test_a_renamed_column_keeps_what_is_known_about_it() -> None:
    use = StepUse("tensors.rename", step_type(STEPS["tensors.rename"]), {"a": "b"})
    pixels = TensorSpec("float32", (-1, 64))

    plan = compose([], {}, {"a": pixels}, [use])

    assert plan.outputs == {"b": TensorSpec("float32", (-1, 64), "b")}


def test_impossible_parameters_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    row = {"x": TensorSpec("float32", (-1, 63))}

    assert "63 numbers each" in problems("tensors.reshape", {"shape": [8, 8]}, row)[0]
    assert "at most one -1" in problems("tensors.reshape", {"shape": [-1, -1]}, row)[0]
    assert "gives the name 'c' to several" in problems("tensors.rename", {"a": "c", "b": "c"})[0]
    assert "wants the names" in problems("tensors.rename", {})[0]
    assert "did you mean 'float32'" in problems("tensors.cast", {"dtype": "float3"}, row)[0]


def test_an_input_of_any_number_type_suits_a_model_of_one() -> None:
    use = StepUse("tensors.reshape", step_type(STEPS["tensors.reshape"]), {"shape": [2]})

    plan = compose([use], {"tensor": TensorSpec("float32", (-1, 2))}, {}, [])

    assert plan.problems == []


def test_numbers_too_large_become_infinite_without_a_warning(apply: Apply) -> None:
    large = np.array([3e38], np.float32)

    assert apply("tensors.scale", {"x": large}, {"factor": 10}).columns["x"].tolist() == [np.inf]
    assert apply("tensors.cast", {"x": large}, {"dtype": "float16"}).columns["x"].tolist() == [np.inf]
    assert scale([1e300]).tolist() == [np.inf]  # type: ignore[union-attr]


def test_integers_beside_fractions_keep_their_digits() -> None:
    after = cast([2**60 + 1, 0.5], dtype="int64")

    assert list(after) == [2**60 + 1, 0]
