"""Which columns does a fitted estimator take, and how do they become the rows that it reads?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from headrace.domain.errors import InvalidConfig, InvalidInput
from headrace.domain.tensors import NUMBERS, Array, Column, TensorSpec
from headrace.infra.runtimes.columns import agreed
from headrace.infra.runtimes.packages import framework
from headrace.infra.runtimes.sklearn_boosters import Booster, Categories, categories_of
from headrace.infra.runtimes.sklearn_parts import features, reads_frames, reads_text

Layout = Literal["auto", "named", "single"]
Arrange = Callable[[Mapping[str, Column]], Any]

MISSING: Final = np.nan


@dataclass(frozen=True, slots=True)
class Taken:
    """What an estimator takes: the columns, how they are arranged into its rows, and one row for a trial."""

    specs: Mapping[str, TensorSpec]
    arrange: Arrange
    sample: Mapping[str, Column]


def taken(estimator: Any, stated: Mapping[str, TensorSpec] | None, layout: Layout) -> Taken:
    """The inputs of *estimator*: a column for each named feature, or one for all (`x`; `text` where it reads text).

    *stated* is the ``input_spec`` of the model's file: it may give another number type, and another name to a single
    column. Raises InvalidConfig when *layout* or *stated* cannot be.
    """
    names = None if layout == "single" else feature_names(estimator)
    if layout == "named" and names is None:
        raise InvalidConfig("options: columns: named wants an estimator that was fitted with the names of its features")
    if names is not None:
        return _named(estimator, names, stated)
    return _single(estimator, stated)


def feature_names(estimator: Any) -> tuple[str, ...] | None:
    """The features that *estimator* was fitted with, when they had names."""
    if isinstance(estimator, Booster):
        return estimator.names
    names = _attribute(estimator, "feature_names_in_")
    return None if names is None else tuple(map(str, names))


def _attribute(estimator: Any, name: str) -> Any:
    try:
        return getattr(estimator, name, None)
    except Exception:  # a property that delegates to something that was never fitted
        return None


def _named(estimator: Any, names: Sequence[str], stated: Mapping[str, TensorSpec] | None) -> Taken:
    categories = {names[place]: texts for place, texts in categories_of(estimator).items()}
    known = [("string", categories[name][0]) if name in categories else feature
             for name, feature in zip(names, features(estimator, len(names)), strict=True)]  # fmt: skip
    own = {name: TensorSpec(dtype, (-1,), name) for name, (dtype, _) in zip(names, known, strict=True)}
    specs = agreed(stated, _retyped(own, stated), "input_spec")
    sample = {name: [value] for name, (_, value) in zip(names, known, strict=True)}
    ordered = {name: specs[name] for name in names}
    if reads_frames(estimator):
        return Taken(ordered, _frames(names, categories), sample)
    if isinstance(estimator, Booster):
        return Taken(ordered, _coded(names, categories, estimator.dtype), sample)
    numeric = all(spec.numeric for spec in ordered.values())
    return Taken(ordered, _stacked(names, np.dtype(np.float64 if numeric else object)), sample)


def _single(estimator: Any, stated: Mapping[str, TensorSpec] | None) -> Taken:
    own = _single_spec(estimator)
    if stated is not None and len(stated) == 1:
        own = replace(own, name=next(iter(stated)))
    [spec] = agreed(stated, _retyped({own.name: own}, stated), "input_spec").values()
    if own.shape == (-1,):
        return Taken({spec.name: spec}, lambda inputs: inputs[spec.name], {spec.name: [""]})
    width = own.shape[1] if own.shape is not None and own.shape[1] >= 0 else 1
    sample = [[value for _, value in features(estimator, width)]]
    rows = _rows(spec)
    names = feature_names(estimator)
    if names is None or not reads_frames(estimator):
        return Taken({spec.name: spec}, rows, {spec.name: sample})
    table = framework("pandas", extra="sklearn").DataFrame
    return Taken({spec.name: spec}, lambda inputs: table(rows(inputs), columns=list(names)), {spec.name: sample})


def _single_spec(estimator: Any) -> TensorSpec:
    if isinstance(estimator, Booster):
        return TensorSpec(estimator.dtype, (-1, estimator.n_features_in_), "x")
    if reads_text(estimator):
        return TensorSpec("string", (-1,), "text")
    width = _attribute(estimator, "n_features_in_")
    if width is None:
        return TensorSpec("float64", (-1, -1), "x")
    kinds = {dtype for dtype, _ in features(estimator, int(width))}
    numeric = all(kind in NUMBERS for kind in kinds)
    return TensorSpec("float64" if numeric else kinds.pop() if len(kinds) == 1 else "any", (-1, int(width)), "x")


def _retyped(own: Mapping[str, TensorSpec], stated: Mapping[str, TensorSpec] | None) -> dict[str, TensorSpec]:
    """*own* with the number types that are *stated*: an estimator does not remember which it was fitted on."""
    given = stated or {}
    return {
        name: replace(spec, dtype=given[name].dtype) if name in given and _free(spec, given[name]) else spec
        for name, spec in own.items()
    }


def _free(own: TensorSpec, stated: TensorSpec) -> bool:
    return own.dtype == "any" or (own.dtype in NUMBERS and stated.dtype in (*NUMBERS, "string"))


def _stacked(names: Sequence[str], dtype: np.dtype[Any]) -> Arrange:
    def arrange(inputs: Mapping[str, Column]) -> Array:
        rows = np.empty((len(inputs[names[0]]), len(names)), dtype)
        for place, name in enumerate(names):
            rows[:, place] = inputs[name]
        return rows

    return arrange


def _coded(names: Sequence[str], categories: Categories, dtype: str) -> Arrange:
    """Texts as their numbers; one that was never seen is missing, as it is to pandas."""
    codes = {name: {text: code for code, text in enumerate(texts)} for name, texts in categories.items()}
    stack = _stacked(names, np.dtype(dtype))

    def arrange(inputs: Mapping[str, Column]) -> Any:
        coded = {
            name: [codes[name].get(text, MISSING) for text in inputs[name]] if name in codes else inputs[name]
            for name in names
        }
        return stack(coded)

    return arrange


def _frames(names: Sequence[str], categories: Categories) -> Arrange:
    """A pandas table, for what was fitted on one and asks for its columns by name."""
    pandas = framework("pandas", extra="sklearn")

    def column(name: str, values: Column) -> Any:
        if name in categories:
            return pandas.Categorical(values, categories=categories[name])
        return values if isinstance(values, np.ndarray) else np.array(values, dtype=object)

    def arrange(inputs: Mapping[str, Column]) -> Any:
        return pandas.DataFrame({name: column(name, inputs[name]) for name in names})

    return arrange


def _rows(spec: TensorSpec) -> Arrange:
    def arrange(inputs: Mapping[str, Column]) -> Any:
        column = inputs[spec.name]
        if isinstance(column, np.ndarray):
            return column
        widths = set(_widths(column))
        wanted = spec.shape[1] if spec.shape is not None and spec.shape[1] >= 0 else None
        if len(widths) > 1 or (wanted is not None and widths - {wanted}):
            said = "equally many" if wanted is None else str(wanted)
            raise InvalidInput(f"column {spec.name!r} wants {said} values in each row")
        return np.array(column, dtype=spec.dtype if spec.numeric else object)

    return arrange


def _widths(rows: Sequence[Any]) -> Iterator[int]:
    for row in rows:
        yield len(row) if isinstance(row, (list, tuple, np.ndarray)) else -1
