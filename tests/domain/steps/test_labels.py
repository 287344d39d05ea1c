"""Are classes named after their scores, ties and all, whatever the batch?"""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headrace.domain.batch import Batch
from headrace.domain.errors import ModelFailure
from headrace.domain.steps.labels import argmax, multi_label, names, regression_interval, softmax, threshold, top_k
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]
SCORES = arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 6)), elements=st.floats(-50, 50, width=32))


@given(SCORES)
def test_probabilities_are_positive_add_up_to_one_and_keep_the_order(scores: Any) -> None:
    probabilities = np.asarray(softmax(scores))

    assert probabilities.dtype == np.float32
    wide = np.exp(scores.astype(np.float64))
    np.testing.assert_allclose(probabilities, wide / wide.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_infinite_scores_become_nan_without_a_warning() -> None:
    assert np.isnan(softmax(np.array([[np.inf, 0.0]], np.float32))).any()


@given(SCORES, st.integers(1, 8))
def test_top_classes_are_the_highest_and_of_equal_ones_the_first(scores: Any, k: int) -> None:
    ranked = top_k(scores, k=k)

    for row, best, top in zip(scores, ranked["prediction"], ranked["top_predictions"], strict=True):
        wanted = sorted(range(len(row)), key=lambda number: (-row[number], number))[:k]
        assert [found["class_id"] for found in top] == wanted
        assert [found["confidence"] for found in top] == [float(row[number]) for number in wanted]
        assert best == top[0]


@given(SCORES, st.randoms(use_true_random=False))
def test_a_row_gets_the_same_answer_alone_in_any_batch_and_order(scores: Any, random: Any) -> None:
    order = list(range(len(scores)))
    random.shuffle(order)

    together = top_k(scores[order], k=3)["top_predictions"]
    several = multi_label(scores[order], threshold=0.25)
    likely = softmax(scores[order])

    for place, row in enumerate(order):
        alone = scores[row : row + 1]
        assert together[place] == top_k(alone, k=3)["top_predictions"][0]
        assert several[place] == multi_label(alone, threshold=0.25)[0]
        np.testing.assert_array_equal(likely[place], softmax(alone)[0])


@given(SCORES)
def test_the_first_of_the_top_is_the_argmax(scores: Any) -> None:
    ids = argmax(scores)["class_id"]

    assert [found["class_id"] for found in top_k(scores, k=1)["prediction"]] == list(ids)


def test_names_come_from_a_list_a_mapping_or_the_number_itself() -> None:
    scores = np.array([[0.0, 1.0]])

    def name(labels: Any) -> str:
        return top_k(scores, labels=labels)["prediction"][0]["class_name"]

    assert [name(["no", "yes"]), name({0: "no", 1: "yes"}), name({"0": "no", "1": "yes"}), name(None)] == [
        "yes", "yes", "yes", "1",
    ]  # fmt: skip


def test_no_class_is_named_where_the_scores_are_no_numbers() -> None:
    scores = np.array([[np.nan, 0.1, 0.2]])

    with pytest.raises(ModelFailure, match="NaN"):
        top_k(scores, k=3)
    with pytest.raises(ModelFailure, match="NaN"):
        argmax(scores)


def test_a_class_without_a_name_is_the_models_failure() -> None:
    with pytest.raises(ModelFailure, match="class 2 has no name; labels name 2 classes"):
        top_k(np.array([[0.0, 0.0, 1.0]]), labels=["a", "b"])
    with pytest.raises(ModelFailure, match="class -1 has no name"):
        names(np.array([-1]), labels=["a", "b"])


def test_rows_with_different_numbers_of_classes_are_ranked_one_by_one(apply: Apply) -> None:
    ragged = [np.array([0.1, 0.9]), np.array([0.2, 0.1, 0.7])]

    after = apply("labels.top_k", {"probabilities": ragged}, {"k": 1})

    assert [found["class_id"] for found in after.columns["prediction"]] == [1, 2]


def test_classes_of_several_positions_keep_their_shape(apply: Apply) -> None:
    scores = np.eye(3, dtype=np.float32)[[[0, 2], [1, 1]]]

    after = apply("labels.argmax", {"probabilities": scores}, {"labels": ["a", "b", "c"]})

    assert after.columns["class_id"].tolist() == [[0, 2], [1, 1]]
    assert after.columns["class_name"] == [["a", "c"], ["b", "b"]]


def test_a_score_is_found_under_another_name_when_only_one_fits(apply: Apply) -> None:
    after = apply("labels.top_k", {"output_7": np.array([[0.0, 1.0]], np.float32)})

    assert after.columns["prediction"][0]["class_id"] == 1


@pytest.mark.parametrize(
    ("scores", "index", "wanted"),
    [([0.4, 0.5], -1, [0, 1]), ([[0.4], [0.5]], -1, [0, 1]), ([[0.9, 0.1], [0.2, 0.8]], 0, [1, 0])],
)
def test_a_threshold_takes_one_score_a_row(scores: Any, index: int, wanted: list[int], apply: Apply) -> None:
    after = apply("labels.threshold", {"scores": np.array(scores, np.float32)}, {"index": index})

    assert after.columns["class_id"].tolist() == wanted


def test_a_threshold_is_met_in_the_type_of_the_scores() -> None:
    scores = np.array([[0.7, 0.1]], np.float32)

    assert threshold(scores, threshold=0.7, index=0)["class_id"].tolist() == [1]  # type: ignore[union-attr]
    assert len(multi_label(scores, threshold=(0.7, 0.2))[0]) == 1


def test_an_interval_covers_as_much_as_it_says() -> None:
    bounds = regression_interval(np.zeros(1, np.float64), std=1.0, level=0.9)

    normal = NormalDist()
    assert normal.cdf(bounds["upper"][0]) - normal.cdf(bounds["lower"][0]) == pytest.approx(0.9)


def test_each_prediction_can_bring_its_own_deviation(apply: Apply) -> None:
    columns = {"mean": np.array([[1.0], [2.0]], np.float32), "sigma": np.array([[0.0], [1.0]], np.float32)}

    after = apply("labels.regression_interval", columns, {"std": "sigma"}, renamed={"value": "mean"})

    np.testing.assert_allclose(after.columns["upper"], [[1.0], [2.0 + 1.959964]], rtol=1e-6)
    with pytest.raises(ModelFailure, match="must be positive"):
        regression_interval(np.zeros(1), np.array([-1.0]), std="sigma")


def test_impossible_parameters_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    ten = {"probabilities": TensorSpec("float32", (-1, 10))}

    assert "2 names in labels; the scores are of 10 classes" in problems("labels.top_k", {"labels": ["a", "b"]}, ten)[0]
    assert "k of at least 1" in problems("labels.top_k", {"k": 0}, ten)[0]
    assert "keys of labels, not 'one'" in problems("labels.argmax", {"labels": {"one": "x"}}, ten)[0]
    assert "single numbers" in problems("labels.argmax", {}, {"p": TensorSpec("float32", (-1,))})[0]
    assert "2 thresholds" in problems("labels.multi_label", {"threshold": [0.1, 0.2]}, ten)[0]
    assert "no score number 10" in problems("labels.threshold", {"index": 10}, ten)[0]
    assert "level between 0 and 1" in problems("labels.regression_interval", {"std": 1, "level": 95}, ten)[0]
    assert "row of class scores" in problems("labels.top_k", {}, {"p": TensorSpec("float32", (-1, 3, 4))})[0]


def test_the_class_of_an_outlier_may_be_minus_one(apply: Apply) -> None:
    after = apply("labels.names", {"class_id": np.array([1, -1])}, {"labels": {1: "usual", -1: "unusual"}})

    assert after.columns["class_name"] == ["usual", "unusual"]
