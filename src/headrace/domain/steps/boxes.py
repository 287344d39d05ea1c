"""Steps for the boxes that an object detector finds."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from headrace.domain.errors import ModelFailure
from headrace.domain.step import Specs, step
from headrace.domain.steps.class_names import Labels, check_labels, class_name
from headrace.domain.tensors import NUMBER, Array, TensorSpec

Format = Literal["xyxy", "xywh", "cxcywh"]


def _nms_reads(*, classes: str | None = None, **_: Any) -> Specs:
    return {"boxes": NUMBER, "scores": NUMBER, **({classes: NUMBER} if classes else {})}


def _kept(
    reads: Specs,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    limit: int = 100,
    labels: Labels | None = None,
    **_: Any,
) -> Specs:
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"wants an iou_threshold between 0 and 1, not {iou_threshold}")
    if limit < 1:
        raise ValueError(f"wants a limit of at least 1, not {limit}")
    shape = reads["boxes"].shape
    if shape is not None and (len(shape) != 3 or shape[2] not in (-1, 4)):
        raise ValueError(f"wants boxes of shape [count, 4]; a row has the shape {list(shape[1:])}")
    scores = reads["scores"]
    check_labels(labels, scores if scores.shape is not None and len(scores.shape) == 3 else None)
    return {"detections": TensorSpec("any", (-1, -1))}


@step(reads=_nms_reads, writes=["detections"], flow=_kept, per="row", parallel=True, pure=True)
def nms(
    boxes: Array,
    scores: Array,
    class_ids: Array | None = None,
    *,
    classes: str | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    limit: int = 100,
    format: Format = "xyxy",
    labels: Labels | None = None,
) -> list[dict[str, Any]]:
    """Keep the best of boxes that show the same thing (non-maximum suppression, class by class).

    Reads `boxes` (`[count, 4]`, in the unit of the model) and `scores` (`[count]`; or `[count, classes]`, then the
    best class counts), and the column of class numbers that *classes* names, if it names one. Writes `detections`:
    for each row at most *limit* of `{box: [left, top, right, bottom], class_id, class_name, confidence}`, best
    first. A box goes when its score is below *score_threshold*, or when a better one of its class covers more than
    *iou_threshold* of their union. *format* says what the four numbers are: corners (`xyxy`), left, top, width and
    height (`xywh`), or the centre and width and height (`cxcywh`).

    Errors: `model_failure` when the shapes do not belong together, or *labels* lack a class.

    Example:
        in: {boxes: [[[0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30]]], scores: [[0.5, 0.75, 0.25]]}
        params: {labels: [dog]}
        out:
          detections:
            - - {box: [1.0, 0.0, 10.0, 10.0], class_id: 0, class_name: dog, confidence: 0.75}
              - {box: [20.0, 20.0, 30.0, 30.0], class_id: 0, class_name: dog, confidence: 0.25}
    """
    corners = _corners(np.asarray(boxes), format)
    best, ids = _best(np.asarray(scores), None if class_ids is None else np.asarray(class_ids))
    if not len(corners) == len(best) == len(ids):
        raise ModelFailure(f"there are {len(corners)} boxes, {len(best)} scores and {len(ids)} classes")
    name = class_name(labels)
    return [
        {
            "box": corners[at].tolist(),
            "class_id": int(ids[at]),
            "class_name": name(int(ids[at])),
            "confidence": float(best[at]),
        }
        for at in _survivors(corners, best, ids, iou_threshold, score_threshold, limit)
    ]


def _corners(boxes: Array, format: Format) -> Array:
    """Left, top, right, bottom of every box, in float64: differences of large float32 coordinates are coarse."""
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ModelFailure(f"boxes.nms wants boxes of shape [count, 4], not {list(boxes.shape)}")
    first, second = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    if format == "xyxy":
        return np.hstack([first, second])
    start = first if format == "xywh" else first - second / 2
    return np.hstack([start, start + second])


def _best(scores: Array, class_ids: Array | None) -> tuple[Array, Array]:
    """A score and a class for each box."""
    if scores.ndim == 2 and class_ids is None:
        if scores.shape[1] == 0:
            raise ModelFailure("boxes.nms wants at least one class in scores")
        return scores.max(axis=1), scores.argmax(axis=1)
    if scores.ndim != 1:
        raise ModelFailure(f"boxes.nms wants one score for each box, not scores of shape {list(scores.shape)}")
    return scores, np.zeros(len(scores), np.int64) if class_ids is None else class_ids


def _survivors(
    corners: Array, scores: Array, ids: Array, iou_threshold: float, score_threshold: float, limit: int
) -> list[int]:
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    order = order[scores[order] >= score_threshold]
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        same = ids[rest] == ids[best]
        order = rest[~(same & (_overlap(corners[best], corners[rest]) > iou_threshold))]
    return kept


def _overlap(box: Array, others: Array) -> Array:
    """Intersection over union of one box with each of *others*; 0 where neither has an area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio
