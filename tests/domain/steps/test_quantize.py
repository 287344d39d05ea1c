"""Do numbers survive the way through bins and tokens, and come back in the unit of the data?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidConfig, InvalidInput, ModelFailure
from headrace.domain.step import Context
from headrace.domain.steps.quantize import denormalize, dequantize_output, quantize_input
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]
SEED = {"num_bins": 253, "offset": 3}  # of the exoplanet example: 253 bins and three markers are 256 tokens


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 300), st.integers(0, 5))
def test_numbers_come_back_within_half_a_bin(values: list[float], num_bins: int, offset: int) -> None:
    tokens = quantize_input(np.array([values]), num_bins=num_bins, offset=offset)
    back = dequantize_output(tokens, num_bins=num_bins, offset=offset)

    assert np.all((np.asarray(tokens) >= offset) & (np.asarray(tokens) < offset + num_bins))
    assert np.abs(np.asarray(back) - np.array([values])).max() <= 0.5 / num_bins + 1e-6


def test_scores_and_tokens_give_the_same_numbers(apply: Apply) -> None:
    tokens = np.array([[3, 128, 255]])

    from_tokens = apply("dequantize_output", {"tokens": tokens}, SEED).columns["values"]
    from_scores = apply("dequantize_output", {"logits": np.eye(256, dtype=np.float32)[tokens]}, SEED).columns["values"]

    assert from_tokens.dtype == np.float32
    np.testing.assert_array_equal(from_tokens, from_scores)


def test_markers_are_no_numbers() -> None:
    assert np.isnan(dequantize_output(np.array([[0, 2, 7]]), num_bins=4, offset=3)).all()


def test_nan_lies_in_no_bin() -> None:
    with pytest.raises(InvalidInput, match="NaN"):
        quantize_input(np.array([np.nan]), num_bins=4)


@pytest.mark.parametrize(
    "stats",
    [
        {"mean": [1.0, 10.0], "std": [2.0, 20.0]},
        [{"name": "mass", "mean": 1.0, "std": 2.0}, {"name": "period", "mean": 10.0, "std": 20.0}],
        {"min": [1.0, 10.0], "max": [3.0, 30.0]},
    ],
)
def test_statistics_are_a_mapping_of_columns_or_rows(stats: Any) -> None:
    back = denormalize(np.array([[0.0, 0.5]], np.float32), Context(values={"stats": stats}))

    assert np.asarray(back).tolist() == [[1.0, 20.0]]


def test_missing_statistics_say_what_to_add() -> None:
    with pytest.raises(InvalidConfig, match="add a step with source: database"):
        denormalize(np.zeros((1, 2)), Context())
    with pytest.raises(InvalidConfig, match="neither the columns mean and std nor min and max"):
        denormalize(np.zeros((1, 2)), Context(values={"stats": [{"mean": 1}]}))
    with pytest.raises(ModelFailure, match="3 rows"):
        denormalize(np.zeros((1, 2)), Context(values={"stats": {"mean": [1, 2, 3], "std": [1, 2, 3]}}))


def test_the_shape_after_scores_is_known_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    scores = {"logits": TensorSpec("float32", (-1, 64, 256))}

    assert problems("dequantize_output", SEED, scores) == []
    assert "num_bins of at least 1" in problems("quantize_input", {"num_bins": 0})[0]
    assert "low below high" in problems("quantize_input", {"num_bins": 4, "low": 1, "high": 0})[0]
    assert "'num_bins' is missing" in problems("dequantize_output", {}, scores)[0]
