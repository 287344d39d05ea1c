"""Steps from the scores of a classifier to classes with names, and from a regression to an interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from headrace.domain.errors import ModelFailure, NoNumber
from headrace.domain.step import Specs, as_column, step
from headrace.domain.steps.class_names import Labels, check_labels, class_name
from headrace.domain.steps.number_columns import each, floating_spec, floats, numbers
from headrace.domain.tensors import ANYTHING, NUMBER, TEXT, Array, Column, TensorSpec


def _softmaxed(reads: Specs) -> Specs:
    return {"probabilities": floating_spec(reads["logits"])}


@step(reads={"logits": NUMBER}, writes=["probabilities"], flow=_softmaxed, flexible=True, pure=True)
def softmax(logits: Column) -> Column:
    """Turn scores of any range into probabilities that add up to one.

    Reads `logits` (numbers; the last axis holds the classes) and writes `probabilities` of the same shape, float32
    unless the scores are of another float type. Large scores do not overflow.

    Example:
        in: {logits: [[0.0, 0.0], [1000.0, 0.0]]}
        out: {probabilities: [[0.5, 0.5], [1.0, 0.0]]}
    """

    def one(array: Array) -> Array:
        powers = np.exp(array - array.max(axis=-1, keepdims=True, initial=-np.inf))
        result: Array = powers / powers.sum(axis=-1, keepdims=True)
        return result

    return each(floats(logits, "logits"), one)


def _argmax_writes(*, labels: Labels | None = None) -> Specs:
    return {"class_id": ANYTHING} if labels is None else {"class_id": ANYTHING, "class_name": ANYTHING}


def _argmaxed(reads: Specs, *, labels: Labels | None = None) -> Specs:
    scores = reads["probabilities"]
    check_labels(labels, scores)
    shape = None if scores.shape is None else scores.shape[:-1]
    if shape == ():
        raise ValueError("wants scores of several classes; the column holds single numbers")
    names = {"class_name": TensorSpec("string", shape)} if labels is not None else {}
    return {"class_id": TensorSpec("int64", shape), **names}


@step(reads={"probabilities": NUMBER}, writes=_argmax_writes, flow=_argmaxed, flexible=True, pure=True)
def argmax(probabilities: Column, *, labels: Labels | None = None) -> dict[str, Column]:
    """Name the class with the highest score; of equal ones the first.

    Reads `probabilities` (numbers; the last axis holds the classes) and writes `class_id` (int64), and with *labels*
    `class_name` (string). *labels* are the names in order, or a mapping from number to name. Scores of several
    positions (`[tokens, classes]`) give as many classes.

    Errors: `model_failure` for a class that *labels* do not name, and for scores that are NaN, which
    is `invalid_input` where an input of the pipeline held NaN or an infinity.

    Example:
        in: {probabilities: [[0.1, 0.7, 0.2]]}
        params: {labels: [setosa, versicolor, virginica]}
        out: {class_id: [1], class_name: [versicolor]}
    """
    scores = _of_classes(numbers(probabilities, "probabilities"))
    ids = each(scores, lambda array: array.argmax(axis=-1).astype(np.int64))
    if labels is None:
        return {"class_id": ids}
    return {"class_id": ids, "class_name": names(ids, labels=labels)}


def _of_classes(scores: Column) -> Column:
    for part in _parts(scores):
        if part.ndim < 2 or part.shape[-1] == 0:
            raise ModelFailure(f"the step wants scores of classes; a row has the shape {list(part.shape[1:])}")
        if part.dtype.kind == "f" and np.isnan(part).any():
            raise NoNumber("the model gave scores that are no number (NaN), and no class is the highest of those")
    return scores


def _parts(column: Column) -> Iterator[Array]:
    """The column as arrays of rows: one, or one for each row where the shapes differ."""
    if isinstance(column, np.ndarray):
        yield column
    else:
        yield from (row[np.newaxis] for row in column)


def _top(reads: Specs, *, k: int = 5, labels: Labels | None = None) -> Specs:
    if k < 1:
        raise ValueError(f"wants k of at least 1, not {k}")
    _one_row_of_scores(reads["probabilities"])
    check_labels(labels, reads["probabilities"])
    return {"prediction": TensorSpec("any", (-1,)), "top_predictions": TensorSpec("any", (-1, -1))}


def _one_row_of_scores(scores: TensorSpec) -> None:
    if scores.shape is not None and len(scores.shape) != 2:
        raise ValueError(f"wants one row of class scores for each item; a row has the shape {list(scores.shape[1:])}")


@step(
    reads={"probabilities": NUMBER}, writes=["prediction", "top_predictions"], flow=_top, flexible=True, pure=True
)  # fmt: skip
def top_k(probabilities: Column, *, k: int = 5, labels: Labels | None = None) -> dict[str, Column]:
    """Add the *k* classes with the highest scores, best first; of equal ones the lower number comes first.

    Reads `probabilities` (numbers, `[classes]` a row) and writes `prediction` (`{class_id, class_name, confidence}`)
    and `top_predictions` (a list of the same). Nothing is dropped and nothing rounded: the confidence is the score.
    *labels* are the names in order, or a mapping from number to name; without them the name is the number.
    With fewer than *k* classes all of them are there.

    Errors: `model_failure` for a class that *labels* do not name, and for scores that are NaN, which
    is `invalid_input` where an input of the pipeline held NaN or an infinity.

    Example:
        in: {probabilities: [[0.25, 0.5, 0.25]]}
        params: {k: 2, labels: [cat, dog, fish]}
        out:
          prediction: [{class_id: 1, class_name: dog, confidence: 0.5}]
          top_predictions:
            - [{class_id: 1, class_name: dog, confidence: 0.5}, {class_id: 0, class_name: cat, confidence: 0.25}]
    """
    top: list[list[dict[str, Any]]] = []
    for part in _parts(_of_classes(numbers(probabilities, "probabilities"))):
        ranked = _ranking(part)[:, :k]
        top += _described(ranked.tolist(), np.take_along_axis(part, ranked, axis=1).tolist(), labels)
    return {"prediction": [best[0] for best in top], "top_predictions": top}


def _ranking(scores: Array) -> Array:
    """The numbers of the classes of each row, highest score first."""
    if scores.ndim != 2:
        raise ModelFailure(f"the step wants one row of class scores; a row has the shape {list(scores.shape[1:])}")
    order: Array = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
    return order


def _described(
    ids: Iterable[list[int]], scores: Iterable[list[float]], labels: Labels | None
) -> list[list[dict[str, Any]]]:
    name = class_name(labels)
    return [
        [
            {"class_id": number, "class_name": name(number), "confidence": float(score)}
            for number, score in zip(numbers_of_row, scores_of_row, strict=True)
        ]
        for numbers_of_row, scores_of_row in zip(ids, scores, strict=True)
    ]


def _threshold_writes(*, threshold: float = 0.5, index: int = -1, labels: Labels | None = None) -> Specs:
    return _argmax_writes(labels=labels)


def _decided(reads: Specs, *, threshold: float = 0.5, index: int = -1, labels: Labels | None = None) -> Specs:
    check_labels(labels, TensorSpec("any", (-1, 2)))
    shape = reads["scores"].shape
    if shape is not None and len(shape) > 2:
        raise ValueError(f"wants one score, or one row of them, for each item; a row has the shape {list(shape[1:])}")
    if shape is not None and len(shape) == 2 and shape[1] >= 0 and not -shape[1] <= index < shape[1]:
        raise ValueError(f"has no score number {index}; a row holds {shape[1]}")
    names = {"class_name": TEXT} if labels is not None else {}
    return {"class_id": TensorSpec("int64", (-1,)), **names}


@step(reads={"scores": NUMBER}, writes=_threshold_writes, flow=_decided, flexible=True, pure=True)
def threshold(
    scores: Column, *, threshold: float = 0.5, index: int = -1, labels: Labels | None = None
) -> dict[str, Column]:
    """Decide between two classes: 1 where the score reaches *threshold*, else 0.

    Reads `scores` (one number a row; or a row of numbers, of which *index* is taken, by default the last: the
    positive class of a binary classifier) and writes `class_id` (int64), and with two *labels* `class_name` (string).
    NaN is below every threshold.

    Example:
        in: {scores: [0.2, 0.5, 0.9]}
        params: {labels: [good, spam]}
        out: {class_id: [0, 1, 1], class_name: [good, spam, spam]}
    """
    parts = []
    for part in _parts(floats(scores, "scores")):
        if part.ndim > 2 or (part.ndim == 2 and not -part.shape[1] <= index < part.shape[1]):
            raise ModelFailure(f"there is no score number {index} in a row of shape {list(part.shape[1:])}")
        parts.append((part[:, index] if part.ndim == 2 else part) >= threshold)
    ids = np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)
    return {"class_id": ids} if labels is None else {"class_id": ids, "class_name": names(ids, labels=labels)}


def _names_spec(reads: Specs, *, labels: Labels) -> Specs:
    check_labels(labels)
    return {"class_name": TensorSpec("string", reads["class_id"].shape)}


@step(
    reads={"class_id": TensorSpec("integer", None)}, writes=["class_name"], flow=_names_spec, flexible=True, pure=True
)  # fmt: skip
def names(class_id: Column, *, labels: Labels) -> Column:
    """Write the names of classes beside their numbers.

    Reads `class_id` (integers of any shape) and writes `class_name` (string, the same shape). *labels* are the names
    in order, or a mapping from number to name.

    Errors: `model_failure` for a number without a name.

    Example:
        in: {class_id: [2, 0]}
        params: {labels: {0: low, 1: middle, 2: high}}
        out: {class_name: [high, low]}
    """
    name = class_name(labels)
    return [_named(row.tolist(), name) for part in _parts(numbers(class_id, "class_id")) for row in part]


def _named(ids: Any, name: Any) -> Any:
    return [_named(item, name) for item in ids] if isinstance(ids, list) else name(int(ids))


Thresholds = float | tuple[float, ...]


def _multi(reads: Specs, *, threshold: Thresholds = 0.5, labels: Labels | None = None) -> Specs:
    scores = reads["probabilities"]
    _one_row_of_scores(scores)
    check_labels(labels, scores)
    classes = scores.shape[1] if scores.shape is not None else -1
    if isinstance(threshold, tuple) and classes >= 0 and len(threshold) != classes:
        raise ValueError(f"has {len(threshold)} thresholds; the scores are of {classes} classes")
    return {"predictions": TensorSpec("any", (-1, -1))}


@step(reads={"probabilities": NUMBER}, writes=["predictions"], flow=_multi, flexible=True, pure=True)
def multi_label(probabilities: Column, *, threshold: Thresholds = 0.5, labels: Labels | None = None) -> Column:
    """List every class whose score reaches the threshold, highest score first.

    Reads `probabilities` (numbers, `[classes]` a row) and writes `predictions`: for each row a list, which may be
    empty, of `{class_id, class_name, confidence}`. *threshold* is one number, or one for each class.

    Errors: `model_failure` for a class that *labels* do not name, and for scores that are NaN, which
    is `invalid_input` where an input of the pipeline held NaN or an infinity.

    Example:
        in: {probabilities: [[0.75, 0.25, 1.0], [0.0, 0.0, 0.0]]}
        params: {labels: [sea, city, sun]}
        out:
          predictions:
            - [{class_id: 2, class_name: sun, confidence: 1.0}, {class_id: 0, class_name: sea, confidence: 0.75}]
            - []
    """
    found: list[list[dict[str, Any]]] = []
    for part in _parts(_of_classes(floats(probabilities, "probabilities"))):
        if isinstance(threshold, tuple) and len(threshold) != part.shape[-1]:
            raise ModelFailure(f"there are {len(threshold)} thresholds for {part.shape[-1]} classes")
        reached = part >= np.asarray(threshold, part.dtype)
        ids = [[i for i in order.tolist() if row[i]] for order, row in zip(_ranking(part), reached, strict=True)]
        chosen = [row[order].tolist() for row, order in zip(part, ids, strict=True)]
        found += _described(ids, chosen, labels)
    return found


def _interval_reads(*, std: float | str, level: float = 0.95) -> Specs:
    return {"value": NUMBER, **({std: NUMBER} if isinstance(std, str) else {})}


def _interval(reads: Specs, *, std: float | str, level: float = 0.95) -> Specs:
    if not 0 < level < 1:
        raise ValueError(f"wants a level between 0 and 1, not {level}")
    if isinstance(std, float) and std < 0:
        raise ValueError(f"wants a standard deviation of at least 0, not {std}")
    bound = floating_spec(reads["value"])
    return {"lower": bound, "upper": bound}


@step(reads=_interval_reads, writes=["lower", "upper"], flow=_interval, flexible=True, pure=True)
def regression_interval(
    value: Column, spread: Column | None = None, *, std: float | str, level: float = 0.95
) -> Mapping[str, Column]:
    """Put an interval around a predicted number that holds the true one with probability *level*.

    Reads `value` (numbers of any shape) and writes `lower` and `upper`, float32 unless `value` is of another float
    type. *std* is the standard deviation of the error: one number (that of the residuals on held-out data, say), or
    the name of a column that holds one for each prediction. The error is taken to be normally distributed.

    Errors: `model_failure` for a negative deviation, or one of another shape.

    Example:
        in: {value: [10.0, 20.0]}
        params: {std: 2.0, level: 0.6826894921370859}
        out: {lower: [8.0, 18.0], upper: [12.0, 22.0]}
    """
    reach = NormalDist().inv_cdf(0.5 + level / 2)
    centre = floats(value, "value")
    deviation = float(std) if spread is None else floats(spread, str(std))
    return {"lower": _moved(centre, deviation, -reach), "upper": _moved(centre, deviation, reach)}


def _moved(centre: Column, deviation: float | Column, times: float) -> Column:
    if isinstance(deviation, float):
        return each(centre, lambda array: array + array.dtype.type(times * deviation))
    if isinstance(centre, np.ndarray) and isinstance(deviation, np.ndarray):
        if deviation.shape != centre.shape or (deviation < 0).any():
            raise ModelFailure(f"deviations of {deviation.shape} must be positive and have the shape {centre.shape}")
        moved: Array = centre + (times * deviation).astype(centre.dtype)
        return moved
    rows = zip(centre, deviation, strict=True)
    return as_column(_moved(one[np.newaxis], other[np.newaxis], times)[0] for one, other in rows)
