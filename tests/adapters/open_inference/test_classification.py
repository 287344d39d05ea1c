"""Are the best classes found, in their order, with their labels?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.adapters.http.conftest import MemoryWorkspace, Recipe

from headrace.adapters.open_inference.classification import classified
from headrace.domain.errors import InvalidRequest
from headrace.domain.pipeline import Pipeline
from headrace.domain.spec import StepSpec
from headrace.domain.tensors import TensorSpec


def pipeline(*, batched: bool = True, labels: Any = None) -> Pipeline:
    spec = TensorSpec("float32", (-1, 3) if batched else (3,))
    recipe = Recipe("scores", {"x": spec}, {"x": spec}, lambda inputs: inputs, batched=batched)
    built = MemoryWorkspace([recipe], [], None).build(recipe.spec)
    if labels is not None:
        built.spec = replace(built.spec, postprocessing=(StepSpec("labels.top_k", {"labels": labels}),))
    return built


def test_each_row_has_its_best_classes_first() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [3, 1, 2]], np.float32)

    found = classified("x", scores, 2, pipeline())

    assert (found.datatype, tuple(found.shape)) == ("BYTES", (2, 2))
    assert found.values == [b"0.7:1", b"0.2:2", b"3.0:0", b"2.0:2"]


def test_more_classes_than_there_are_are_all() -> None:
    assert tuple(classified("x", np.zeros((1, 3), np.float32), 9, pipeline()).shape) == (1, 3)


def test_of_equal_scores_the_first_class_goes_first_and_nan_last() -> None:
    scores = np.array([[np.nan, 1.0, 1.0]], np.float32)

    assert classified("x", scores, 3, pipeline()).values == [b"1.0:1", b"1.0:2", b"nan:0"]


def test_great_integers_keep_their_order() -> None:
    scores = np.array([[0, 200, 100]], np.uint8)

    assert classified("x", scores, 2, pipeline()).values == [b"200:1", b"100:2"]


@pytest.mark.parametrize("labels", [["cat", "dog", "bird"], {0: "cat", "1": "dog", 2: "bird"}])
def test_labels_are_those_of_the_postprocessing(labels: Any) -> None:
    scores = np.array([[0.5, 0.25, 0.25]], np.float32)

    assert classified("x", scores, 1, pipeline(labels=labels)).values == [b"0.5:0:cat"]


def test_labels_of_other_scores_are_not_taken() -> None:
    scores = np.array([[0.5, 0.25, 0.25]], np.float32)

    assert classified("x", scores, 1, pipeline(labels=["yes", "no"])).values == [b"0.5:0"]


def test_without_a_batch_axis_there_is_one_row() -> None:
    found = classified("x", [np.array([1, 3, 2], np.float32)], 2, pipeline(batched=False))

    assert (tuple(found.shape), found.values) == ((2,), [b"3.0:1", b"2.0:2"])


@pytest.mark.parametrize("column", [["a", "b"], np.array([[True, False]])], ids=["texts", "booleans"])
def test_what_holds_no_scores_is_refused(column: Any) -> None:
    with pytest.raises(InvalidRequest, match="no scores"):
        classified("x", column, 1, pipeline())


def test_no_rows_have_no_classes() -> None:
    found = classified("x", np.empty((0, 3), np.float32), 2, pipeline())

    assert (tuple(found.shape), found.values) == ((0, 2), [])
