"""Which of a fitted estimator's methods answer, and which columns do their answers become?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

from headrace.domain.errors import InvalidConfig, ModelFailure
from headrace.domain.tensors import NUMBERS, Array, Column, TensorSpec
from headrace.infra.runtimes.sklearn_boosters import Booster

Method = Literal["auto", "predict", "predict_proba", "transform", "decision_function", "score_samples"]
Calls = Mapping[str, str]
"""Output column to the method that answers it."""

METHODS: Final = ("predict", "predict_proba", "transform", "decision_function", "score_samples")
COLUMNS: Final[Calls] = {
    "predict_proba": "probabilities",
    "transform": "features",
    "decision_function": "score",
    "score_samples": "score",
}
"""The column of each method; that of `predict` depends on what is predicted."""

LABELLED: Final = ("classifier", "clusterer", "outlier_detector")


def calls(estimator: Any, method: Method) -> Calls:
    """What is called for each output. Raises InvalidConfig when *estimator* has no such *method*."""
    has = [name for name in METHODS if hasattr(estimator, name)]
    if not has:
        found = type(estimator).__name__
        raise InvalidConfig(f"it holds a {found}, which is no estimator: it has none of {', '.join(METHODS)}")
    what = kind(estimator)
    if method == "auto":
        return _usual(what, has, several=isinstance(getattr(estimator, "classes_", None), list))
    if method not in has:
        raise InvalidConfig(
            f"options: method: this {type(estimator).__name__} has no {method}; it has {', '.join(has)}"
        )
    return {_column(method, what): method}


def kind(estimator: Any) -> str:
    """What scikit-learn calls *estimator*: ``classifier``, ``regressor``, ``outlier_detector`` ...; "" if nothing."""
    if isinstance(estimator, Booster):
        return estimator.kind
    tags = getattr(estimator, "__sklearn_tags__", None)
    found = tags().estimator_type if callable(tags) else getattr(estimator, "_estimator_type", None)
    return str(found or "")


def _usual(what: str, has: Sequence[str], *, several: bool) -> Calls:
    if what == "classifier" and "predict_proba" in has and not several:
        return {"label": "predict", "probabilities": "predict_proba"}
    if what == "outlier_detector":
        scores = [method for method in ("score_samples", "decision_function") if method in has]
        return {"label": "predict", **({"score": scores[0]} if scores else {})}
    method = next(name for name in ("predict", "transform", "score_samples", *METHODS) if name in has)
    return {_column(method, what): method}


def _column(method: str, what: str) -> str:
    return COLUMNS.get(method) or ("label" if what in LABELLED else "prediction")


def ask(estimator: Any, method: str, rows: Any) -> Array:
    """What *method* answers, as one array with a row for each of *rows*."""
    answer = getattr(estimator, method)(rows)
    if hasattr(answer, "toarray"):  # SciPy's sparse matrices
        answer = answer.toarray()
    if isinstance(answer, list) and len(answer) != len(rows):
        raise ModelFailure(f"{method} answers for several outputs at once, which have no column: choose predict")
    return np.asarray(answer)


def spec_of(name: str, answer: Array) -> TensorSpec:
    """The column that *answer*, the result of a trial, shows *name* to be."""
    shape = (-1, *answer.shape[1:])
    if answer.dtype.name in NUMBERS:
        return TensorSpec(answer.dtype.name, shape, name)
    text = answer.dtype.kind in "US" or all(isinstance(value, str) for value in answer.ravel())
    return TensorSpec("string" if text else "any", shape, name)


def as_column(answer: Array, spec: TensorSpec) -> Column:
    """*answer* as a column of *spec*: numbers in an array of its type, texts as a list (an array where rows are)."""
    if spec.numeric:
        return answer.astype(spec.dtype, copy=False)
    return answer.tolist() if answer.ndim == 1 else answer.astype(object)
