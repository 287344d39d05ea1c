"""What is a fitted estimator made of, and what does that say about the rows that it can read?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

Feature = tuple[str, Any]
"""The type of one feature, and a value of it that can be tried."""

NUMBER: Final[Feature] = ("float64", 0.0)
OWN: Final = ("sklearn", "xgboost", "headrace")
"""Packages whose estimators read plain arrays and are known to keep still while they predict."""


def parts(estimator: Any) -> Iterator[Any]:
    """*estimator* and every estimator inside it, each once."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += _within(getattr(part, "__dict__", {}).values())


def _within(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from _within(value.values())
        elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
            yield from _within(list(value))
        elif hasattr(value, "get_params") and not isinstance(value, type):
            yield value


def package(part: Any) -> str:
    """The package that the class of *part* comes from."""
    return type(part).__module__.partition(".")[0]


def is_known(estimator: Any) -> bool:
    """Whether all of it is code of which we know that several threads may predict with it at the same time."""
    return all(package(part) in (*OWN, "lightgbm") and not _runs_strange_code(part) for part in parts(estimator))


def _runs_strange_code(part: Any) -> bool:
    functions = (getattr(part, name, None) for name in ("func", "preprocessor", "tokenizer", "analyzer", "metric"))
    return any(
        callable(function) and package_of(function) not in ("sklearn", "numpy", "scipy") for function in functions
    )


def package_of(function: Any) -> str:
    """The package that a function comes from; a partial one counts as the function inside it."""
    function = getattr(function, "func", function)
    return str(getattr(function, "__module__", None) or type(function).__module__).partition(".")[0]


def reads_frames(estimator: Any) -> bool:
    """Whether something in it asks for columns by name, or may: then rows come as a pandas table."""
    return any(
        hasattr(part, "transformers_")
        or package(part) not in OWN
        or _runs_strange_code(part)
        or (hasattr(part, "get_booster") and bool(getattr(part, "enable_categorical", False)))
        or "_sklearn_output_config" in vars_of(part)
        for part in parts(estimator)
    )


def vars_of(part: Any) -> dict[str, Any]:
    """The attributes of *part* alone, without those of its class."""
    return dict(getattr(part, "__dict__", {}))


def forget_names(estimator: Any) -> None:
    """Take the names of the features away: rows come as plain arrays, in the order that the names had.

    scikit-learn would warn about the missing names at every call.
    """
    for part in parts(estimator):
        if "feature_names_in_" in vars_of(part):
            del part.feature_names_in_


def set_threads(estimator: Any, threads: int) -> None:
    """Let every part use *threads* in one call, and no more."""
    for part in parts(estimator):
        if hasattr(part, "n_jobs"):
            part.n_jobs = threads
        if hasattr(part, "get_booster"):
            part.get_booster().set_param({"nthread": threads})


def changes_its_rows(estimator: Any) -> bool:
    """Whether a call may write into the array that it is given."""
    return any(vars_of(part).get("copy") is False or _runs_strange_code(part) for part in parts(estimator))


def reads_text(estimator: Any) -> bool:
    """Whether it begins with something that turns text into numbers of its own."""
    if hasattr(estimator, "build_analyzer"):
        return True
    inner = getattr(estimator, "best_estimator_", None)
    if (inner := first_step(estimator) if inner is None else inner) is not None:
        return reads_text(inner)
    return any(reads_text(entry[1]) for entry in getattr(estimator, "transformer_list", ()))


def first_step(estimator: Any) -> Any:
    """The first step of a pipeline that does something; None for what is no pipeline."""
    steps = [step for _, step in getattr(estimator, "steps", ()) if step not in (None, "passthrough")]
    return steps[0] if steps else None


def features(estimator: Any, width: int) -> list[Feature]:
    """The type of each of the *width* features, as far as encoders, imputers and text steps have learned it."""
    for name in ("best_estimator_", "_preprocessor"):  # of a search, and of boosting on pandas categories
        if (inner := getattr(estimator, name, None)) is not None:
            return features(inner, width)
    if hasattr(estimator, "transformers_"):
        return _of_columns(estimator, width)
    if hasattr(estimator, "steps"):
        return _of_steps([step for _, step in estimator.steps], width)
    if reads_text(estimator):
        return [("string", "")] * width
    categories = getattr(estimator, "categories_", ())
    if len(categories) == width:
        return [_of_values(values) for values in categories]
    filled = getattr(estimator, "statistics_", None)
    if filled is not None and len(filled) == width:
        return [_of_values([value]) for value in filled]
    return [NUMBER] * width


def _of_steps(steps: Sequence[Any], width: int) -> list[Feature]:
    """Those of the first step that knows; a step that changes the columns hides what follows."""
    for step in steps:
        if step in (None, "passthrough"):
            continue
        known = features(step, width)
        if any(feature != NUMBER for feature in known) or not hasattr(step, "statistics_"):
            return known
    return [NUMBER] * width


def _of_columns(transformer: Any, width: int) -> list[Feature]:
    """Those of a ColumnTransformer, whose every part reads columns of its own."""
    known = [NUMBER] * width
    places = getattr(transformer, "_transformer_to_input_indices", {})
    for name, part, _ in transformer.transformers_:
        columns = list(places.get(name, ()))
        if part in ("drop", "passthrough"):
            continue
        for place, feature in zip(columns, features(part, len(columns)), strict=True):
            if feature != NUMBER:
                known[place] = feature
    return known


def _of_values(values: Sequence[Any]) -> Feature:
    """The type of a feature that was seen to hold *values*."""
    held = [value for value in values if value is not None and value == value]  # noqa: PLR0124 (NaN is missing)
    if not held or isinstance(held[0], (float, np.floating)):
        return NUMBER
    if all(isinstance(value, str) for value in held):
        return "string", str(held[0])
    if all(isinstance(value, (bool, np.bool_)) for value in held):
        return "bool", bool(held[0])
    if all(isinstance(value, (int, np.integer)) for value in held):
        return "int64", int(held[0])
    return "any", held[0]
