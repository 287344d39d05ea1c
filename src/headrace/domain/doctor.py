"""Everything that does not fit in a pipeline, not only the first thing: a step that fails is stood in for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError
from headrace.domain.fit import Misplaced, Plan, StepUse, compose
from headrace.domain.parameters import Problem, Signature, check
from headrace.domain.step import Place, Specs, StepType
from headrace.domain.tensors import ANYTHING, TensorSpec

Position = tuple[str, int]


@dataclass(slots=True)
class Diagnosis:
    """What is wrong, and the columns that the pipeline takes when that can be told (None if it cannot)."""

    problems: list[Misplaced] = field(default_factory=list)
    inputs: Specs | None = None


def diagnose(
    before: Sequence[StepUse | None],
    model_inputs: Specs | None,
    model_outputs: Specs | None,
    after: Sequence[StepUse | None],
    outputs: Sequence[str] | None = None,
    place: Place | None = None,
) -> Diagnosis:
    """As `compose`, but it goes on after a step that does not fit, as if its columns were there and right.

    A step of None is one of which nothing is known. What comes after it, or after one whose effect on the columns
    cannot be told, is checked for its parameters alone: anything more would be a guess.
    """
    steps: dict[Position, StepUse | None] = {("preprocessing", i): use for i, use in enumerate(before)}
    steps |= {("postprocessing", i): use for i, use in enumerate(after)}
    found: list[Misplaced] = []
    replaced: set[Position] = set()
    while True:
        known = _known(steps)
        chosen = outputs if len(known) == len(steps) else None
        try:
            plan = _compose(known, model_inputs, model_outputs, chosen, place)
        except Exception as error:  # what a step declares may be code of its own
            culprit = _culprit(known, model_inputs, model_outputs, place)
            found.append(Misplaced(*culprit, Problem("params", _said(steps[culprit], error))))
            steps[culprit] = None
            continue
        failing = [position for position in known if any(_at(problem) == position for problem in plan.problems)]
        if not failing:
            break
        first = failing[0]
        found += [problem for problem in plan.problems if _at(problem) == first]
        steps[first] = _stand_in(steps[first], place or Place())
        replaced.add(first)
    found += _of_the_rest(steps, known)
    return _concluded(found, plan, replaced, len(known) == len(steps), model_inputs is not None)


def _known(steps: Mapping[Position, StepUse | None]) -> dict[Position, StepUse]:
    """The steps before the first of which nothing is known."""
    known: dict[Position, StepUse] = {}
    for position, use in steps.items():
        if use is None:
            break
        known[position] = use
    return known


def _compose(
    known: Mapping[Position, StepUse],
    inputs: Specs | None,
    model_outputs: Specs | None,
    outputs: Sequence[str] | None,
    place: Place | None,
) -> Plan:
    before = [use for (part, _), use in known.items() if part == "preprocessing"]
    after = [use for (part, _), use in known.items() if part == "postprocessing"]
    return compose(before, inputs, model_outputs, after, outputs, place)


def _culprit(
    known: Mapping[Position, StepUse], inputs: Specs | None, outputs: Specs | None, place: Place | None
) -> Position:
    """The first step that the columns cannot be brought through."""
    tried: dict[Position, StepUse] = {}
    for position, use in known.items():
        tried[position] = use
        try:
            _compose(tried, inputs, outputs, None, place)
        except Exception:  # as above
            return position
    return list(known)[-1]


def _said(use: StepUse | None, error: Exception) -> str:
    name = use.name if use is not None else ""
    if isinstance(error, EngineError | ValueError):
        return f"step {name!r}: {error}"
    return f"step {name!r} cannot be bound: {type(error).__name__}: {error}"


def _at(problem: Misplaced) -> Position:
    return problem.part, problem.index


def _of_the_rest(steps: Mapping[Position, StepUse | None], known: Mapping[Position, StepUse]) -> list[Misplaced]:
    """What is wrong with the parameters of the steps that the columns cannot be followed to."""
    return [
        Misplaced(*position, problem)
        for position, use in steps.items()
        if use is not None and position not in known
        for problem in check(use.kind.signature, use.params)[1]
    ]


def _concluded(
    found: list[Misplaced], plan: Plan, replaced: set[Position], complete: bool, model_known: bool
) -> Diagnosis:
    guessed = {part for part, _ in replaced}
    if complete and "preprocessing" not in guessed:
        found += [problem for problem in plan.problems if problem.part == "model"]
    if complete:
        found += [problem for problem in plan.problems if problem.part == "outputs"]
    order = {"preprocessing": 0, "model": 1, "postprocessing": 2, "outputs": 3}
    found.sort(key=lambda problem: (order[problem.part], problem.index))
    sure = complete and model_known and "preprocessing" not in guessed
    return Diagnosis(found, plan.inputs if sure else None)


def _stand_in(use: StepUse | None, place: Place) -> StepUse | None:
    """A step that reads nothing and writes what *use* would; None if that cannot be told."""
    if use is None:
        return None
    kind = use.kind
    params, wrong = check(kind.signature, use.params)
    if kind.takes_place:
        params["place"] = place
    if wrong and (callable(kind.writes) or kind.flow is not None):
        return None
    try:
        writes = _effect(kind, params)
    except Exception:  # a step's own code, given what it did not expect
        return None
    renamed = {use.columns.get(name, name): spec for name, spec in writes.items()}
    stand_in = StepType(
        function=lambda batch: Batch(batch.columns), signature=Signature((), {}), form="batch", reads={}, writes={},
        flow=lambda seen: renamed, flexible=False, parallel=False, waits=False, pure=True,
    )  # fmt: skip
    return StepUse(use.name, stand_in)


def _effect(kind: StepType, params: Mapping[str, Any]) -> dict[str, TensorSpec | None]:
    reads = kind.reads(**params) if callable(kind.reads) else kind.reads
    writes: dict[str, TensorSpec | None] = dict(kind.writes(**params) if callable(kind.writes) else kind.writes)
    if kind.flow is not None:
        writes |= kind.flow(dict.fromkeys(reads, ANYTHING), **params)
    return {name: None if spec is None else ANYTHING for name, spec in writes.items()}
