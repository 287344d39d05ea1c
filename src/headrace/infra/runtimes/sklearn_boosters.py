"""How does a model in XGBoost's or LightGBM's own format answer like an estimator of scikit-learn?"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.domain.tensors import Array

Categories = Mapping[str, tuple[str, ...]]
Texts = Mapping[int, tuple[str, ...]]
"""By the place of a column: the texts that stand for 0, 1, 2 ... in it."""

PROBABLE: Final = ("binary:logistic", "multi:softprob", "multi:softmax")
"""XGBoost's objectives whose answers are probabilities of classes; of all others the number itself is the answer."""

PROBABLE_LIGHTGBM: Final = ("binary", "multiclass", "multiclassova")


@dataclass(frozen=True, slots=True)
class Booster:
    """A model in a native format; *score* gives what the library's own `predict` does."""

    score: Callable[[Array], Array]
    n_features_in_: int
    names: tuple[str, ...] | None
    classes: int | None
    dtype: str
    library: str
    texts: Texts

    @property
    def kind(self) -> str:
        """What scikit-learn would call it."""
        return "regressor" if self.classes is None else "classifier"

    @property
    def classes_(self) -> Array:
        """The classes: a native format numbers them. Raises AttributeError for a regressor, as scikit-learn does."""
        if self.classes is None:
            raise AttributeError("a regressor has no classes")
        return np.arange(self.classes)

    def predict(self, rows: Array) -> Array:
        """The class of each row, or the number that a regressor answers."""
        return self.score(rows) if self.classes is None else self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows: Array) -> Array:
        """The probability of each class, shape (n, classes)."""
        scores = self.score(rows)
        return scores if scores.ndim == 2 else np.stack([1 - scores, scores], axis=1)


def xgboost_booster(xgboost: Any, file: Path, threads: int) -> Booster:
    """A model saved by `save_model`, as JSON or UBJSON."""
    booster = xgboost.Booster({"nthread": threads}, model_file=str(file))
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    if objective == "multi:softmax":  # the same trees; this objective alone hides the probabilities
        booster.set_param({"objective": "multi:softprob"})
    classes = max(2, int(learner["learner_model_param"]["num_class"])) if objective in PROBABLE else None
    return Booster(
        _xgboost_score(xgboost, booster, linear=learner["gradient_booster"]["name"] == "gblinear"),
        booster.num_features(),
        tuple(booster.feature_names) if booster.feature_names else None,
        classes,
        "float32",
        "xgboost",
        _xgboost_texts(booster),
    )


def _xgboost_score(xgboost: Any, booster: Any, *, linear: bool) -> Callable[[Array], Array]:
    best = booster.attr("best_iteration")  # early stopping: the trees after it are not used, as in XGBClassifier
    trees = (0, 0 if best is None else int(best) + 1)
    # XGBoost promises that `inplace_predict` is safe in several threads, and only that; it has none for linear models.
    one_at_a_time: AbstractContextManager[Any] = threading.Lock() if linear else nullcontext()

    def score(rows: Array) -> Array:
        with one_at_a_time:
            if not linear:
                return np.asarray(booster.inplace_predict(rows, iteration_range=trees))
            matrix = xgboost.DMatrix(rows, feature_names=booster.feature_names)
            return np.asarray(booster.predict(matrix, iteration_range=trees))

    return score


def categories_of(estimator: Any) -> Texts:
    """The columns of a booster, in either library and in their classes for scikit-learn, that hold pandas categories.

    Of categories that are numbers the column stays one of numbers.
    """
    if isinstance(estimator, Booster):
        return estimator.texts
    if hasattr(estimator, "get_booster"):
        return _xgboost_texts(estimator.get_booster())
    return _lightgbm_texts(estimator.booster_) if hasattr(estimator, "booster_") else {}


def _xgboost_texts(booster: Any) -> Texts:
    if "c" not in (booster.feature_types or ()):
        return {}
    model = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]
    encoded = (model.get("cats") or {}).get("enc") or []
    return {place: texts for place, entry in enumerate(encoded) if (texts := _texts(entry))}


def _texts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Strings as Arrow keeps them: all bytes in one row, and where each string begins."""
    if "offsets" not in entry or not entry["values"]:
        return ()
    whole = bytes(byte % 256 for byte in entry["values"])
    return tuple(whole[start:end].decode() for start, end in pairwise(entry["offsets"]))


def lightgbm_booster(lightgbm: Any, file: Path, threads: int) -> Booster:
    """A model saved by `save_model`, as text."""
    booster = lightgbm.Booster(model_file=str(file), params={"verbosity": -1})
    facts = booster.dump_model(num_iteration=1)
    names = tuple(booster.feature_name())
    unnamed = names == tuple(f"Column_{place}" for place in range(len(names)))
    probable = str(facts.get("objective", "")).split(" ")[0] in PROBABLE_LIGHTGBM

    def score(rows: Array) -> Array:  # takes a shared lock inside: safe in several threads
        return np.asarray(booster.predict(rows, num_threads=threads))

    return Booster(
        score,
        booster.num_feature(),
        None if unnamed else names,
        max(2, int(facts["num_class"])) if probable else None,
        "float64",
        "lightgbm",
        _lightgbm_texts(booster),
    )


def _lightgbm_texts(booster: Any) -> Texts:
    """The columns that were pandas categories, which the model lists in their order.

    Which columns they are stands in ``feature_infos``: ``[low:high]`` for numbers, ``0:2:1`` for categories, and
    ``none`` for a column of either kind that is not used.
    """
    known = booster.pandas_categorical or ()
    if not known:
        return {}
    lines = booster.model_to_string(num_iteration=1).splitlines()
    infos = next(line for line in lines if line.startswith("feature_infos=")).partition("=")[2].split(" ")
    places = [place for place, info in enumerate(infos) if not info.startswith(("[", "none"))]
    if len(places) < len(known):
        places = [place for place, info in enumerate(infos) if not info.startswith("[")]
    if len(places) != len(known):
        return {}
    found = zip(places, known, strict=True)
    return {place: tuple(values) for place, values in found if all(isinstance(value, str) for value in values)}
