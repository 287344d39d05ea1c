"""Runs one built-in step as a pipeline does: bound to its columns first, then on a batch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.domain.batch import Batch
from headrace.domain.fit import Plan, StepUse, compose
from headrace.domain.step import Context, Place, step_type
from headrace.domain.steps import STEPS
from headrace.domain.tensors import GROUPS, TensorSpec, shape_fits

Apply = Callable[..., Batch]


def bind(name: str, params: Mapping[str, Any], inputs: Mapping[str, TensorSpec] | None = None, **rest: Any) -> Plan:
    """The step *name* alone in a pipeline whose model is not known; *inputs* are columns that are there before."""
    use = StepUse(name, step_type(STEPS[name]), dict(params), rest.pop("columns", {}))
    if inputs is None:
        return compose([use], None, None, [], **rest)
    return compose([], {}, inputs, [use], **rest)


def _specs(columns: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(column.dtype.name, (-1, *column.shape[1:]))
        if isinstance(column, np.ndarray)
        else _listed(column)
        for name, column in columns.items()
    }


def _listed(column: list[Any]) -> TensorSpec:
    kind = {str: "string", bytes: "bytes"}.get(type(column[0]))
    return TensorSpec("any", None) if kind is None else TensorSpec(kind, (-1,))


def _as_promised(column: Any, spec: TensorSpec) -> bool:
    """Whether a column has the type and shape that the step said it would have."""
    if spec.dtype == "image":
        return all(shape_fits((-1, image.height, image.width, len(image.getbands())), spec.shape) for image in column)
    if not isinstance(column, np.ndarray):
        return spec.shape is None or not spec.numeric or -1 in spec.shape[1:]
    kinds = GROUPS.get(spec.dtype, (spec.dtype,))
    fits = spec.shape is None or shape_fits(column.shape, spec.shape)
    return fits and (spec.dtype == "any" or column.dtype.name in kinds)


@pytest.fixture
def apply() -> Apply:
    """``apply("labels.argmax", {"probabilities": array}, {"labels": [...]})``: the batch after the step.

    Fails when the step does not fit, or when a column is not what the step promised before it ran.
    """

    def run(
        name: str,
        columns: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        place: Place | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> Batch:
        plan = bind(name, params or {}, _specs(columns), place=place, columns=dict(renamed or {}))
        assert [found.problem.message for found in plan.problems] == []
        step = plan.after[0]
        after = step.run(Batch(columns), Context(values=values or {}))
        assert isinstance(after, Batch)
        for column, spec in step.after(_specs(columns)).items():
            assert after.size == 0 or _as_promised(after.columns[column], spec), f"{column} is not {spec}"
        return after

    return run


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """``problems("image.resize", {"size": 0})``: what is wrong with a step before anything is loaded."""

    def find(
        name: str,
        params: Mapping[str, Any],
        inputs: Mapping[str, TensorSpec] | None = None,
        root: Path | None = None,
    ) -> list[str]:
        place = Place(root) if root is not None else None
        return [found.problem.message for found in bind(name, params, inputs, place=place).problems]

    return find
