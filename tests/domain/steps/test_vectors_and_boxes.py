"""Are vectors of length one, and is the best box of each thing kept?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headrace.domain.batch import Batch
from headrace.domain.errors import ModelFailure
from headrace.domain.steps.boxes import nms
from headrace.domain.steps.vectors import normalize
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]
VECTORS = arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.floats(-(2.0**126), 2.0**126, width=32)
)


@given(VECTORS)
def test_every_vector_has_length_one_or_is_zero(vectors: Any) -> None:
    after = np.asarray(normalize(vectors))

    lengths = np.linalg.norm(after.astype(np.float64), axis=1)
    zero = ~vectors.any(axis=1)
    np.testing.assert_allclose(lengths[~zero], 1, rtol=1e-5)
    assert not after[zero].any()
    for row in range(len(vectors)):
        np.testing.assert_array_equal(normalize(vectors[row : row + 1])[0], after[row])


@pytest.mark.parametrize(("norm", "wanted"), [("l1", [0.25, -0.75]), ("max", [1 / 3, -1.0])])
def test_other_norms_divide_by_their_own_length(norm: Any, wanted: list[float]) -> None:
    np.testing.assert_allclose(normalize(np.array([[1, -3]]), norm=norm), [wanted], rtol=1e-6)


def plain_nms(boxes: Any, scores: Any, ids: Any, limit_iou: float) -> list[int]:
    """The textbook loop over pairs."""
    kept: list[int] = []
    for at in sorted(range(len(boxes)), key=lambda at: (-scores[at], at)):
        x0, y0, x1, y1 = boxes[at]
        for other in kept:
            a0, b0, a1, b1 = boxes[other]
            shared = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
            union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - shared
            if ids[other] == ids[at] and union > 0 and shared / union > limit_iou:
                break
        else:
            kept.append(at)
    return kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 30), st.floats(0, 1))
def test_the_boxes_kept_are_those_of_the_textbook(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 10, (count, 2)).astype(np.float64)
    boxes = np.hstack([start, start + rng.integers(0, 8, (count, 2))])
    scores, ids = rng.integers(0, 5, count) / 4, rng.integers(0, 3, count)

    found = nms(boxes, scores, ids, classes="ids", iou_threshold=iou)

    wanted = plain_nms(boxes, scores, ids, iou)
    assert [item["box"] for item in found] == [boxes[at].tolist() for at in wanted]
    assert [(item["class_id"], item["confidence"]) for item in found] == [(ids[at], scores[at]) for at in wanted]


def test_all_three_ways_to_write_a_box_mean_the_same() -> None:
    scores = np.array([1.0])

    found = [
        nms(np.array([box], np.float32), scores, format=form)[0]["box"]
        for form, box in {"xyxy": (2, 3, 6, 9), "xywh": (2, 3, 4, 6), "cxcywh": (4, 6, 4, 6)}.items()  # type: ignore[arg-type]
    ]

    assert found == [[2, 3, 6, 9]] * 3


def test_scores_of_classes_name_the_best_and_the_weak_go(apply: Apply) -> None:
    columns = {
        "boxes": np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 6, 6]]], np.float32),
        "scores": np.array([[[0.9, 0.0], [0.1, 0.8], [0.2, 0.1]]], np.float32),
    }

    after = apply("boxes.nms", columns, {"score_threshold": 0.25, "labels": ["cat", "dog"]})

    assert [item["class_name"] for item in after.columns["detections"][0]] == ["cat", "dog"]


def test_a_picture_without_boxes_has_no_detections_and_the_limit_holds() -> None:
    assert nms(np.zeros((0, 4)), np.zeros(0)) == []
    assert len(nms(np.arange(40).reshape(10, 4) * 9, np.ones(10), limit=3)) == 3


def test_shapes_that_do_not_belong_together_are_the_models_failure() -> None:
    with pytest.raises(ModelFailure, match="1 boxes, 2 scores"):
        nms(np.zeros((1, 4)), np.zeros(2))
    with pytest.raises(ModelFailure, match=r"\[count, 4\]"):
        nms(np.zeros((1, 5)), np.zeros(1))


def test_impossible_parameters_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    found = {"boxes": TensorSpec("float32", (-1, 9, 5)), "scores": TensorSpec("float32", (-1, 9, 2))}
    good = {**found, "boxes": TensorSpec("float32", (-1, 9, 4))}

    assert "boxes of shape [count, 4]" in problems("boxes.nms", {}, found)[0]
    assert "1 names in labels; the scores are of 2" in problems("boxes.nms", {"labels": ["a"]}, good)[0]
    assert "iou_threshold between 0 and 1" in problems("boxes.nms", {"iou_threshold": 50}, good)[0]
    assert "single numbers" in problems("vectors.normalize", {}, {"x": TensorSpec("float32", (-1,))})[0]
