"""Do the steps and the model fit together? Binds step types to a pipeline's columns before anything is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from headrace.domain.parameters import Problem, check, nearest
from headrace.domain.step import Place, Specs, Step, StepType, runner
from headrace.domain.tensors import ANYTHING, TensorSpec, misfit


@dataclass(frozen=True, slots=True)
class StepUse:
    """One entry under ``preprocessing`` or ``postprocessing``, with its name looked up.

    *columns* rename the columns that the step declares to those of this pipeline.
    """

    name: str
    kind: StepType
    params: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A problem and where it stands: *part* is ``preprocessing``, ``model``, ``postprocessing`` or ``outputs``."""

    part: str
    index: int
    problem: Problem


@dataclass(slots=True)
class Plan:
    """Steps bound to columns: what a pipeline takes, does and gives."""

    before: list[Step] = field(default_factory=list)
    after: list[Step] = field(default_factory=list)
    inputs: dict[str, TensorSpec] = field(default_factory=dict)
    outputs: dict[str, TensorSpec] = field(default_factory=dict)
    problems: list[Misplaced] = field(default_factory=list)


class _Flow:
    """The columns at one point of a pipeline; *fresh* are those that the last step or the model wrote."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self.columns: dict[str, TensorSpec] = {}
        self.fresh: set[str] = set()
        self.ever: set[str] = set()
        self.plan = plan
        self.place = place

    def need(self, name: str, spec: TensorSpec) -> None:
        """A column that nothing has written yet is an input of the pipeline."""
        self.plan.inputs[name] = TensorSpec(spec.dtype, spec.shape, name, spec.default, spec.optional)
        self.columns[name] = self.plan.inputs[name]
        self.ever.add(name)

    def replace(self, columns: Mapping[str, TensorSpec]) -> None:
        self.fresh = {name for name, spec in columns.items() if self.columns.get(name) is not spec}
        self.columns = dict(columns)
        self.ever |= self.fresh


def compose(
    before: Sequence[StepUse],
    model_inputs: Specs | None,
    model_outputs: Specs | None,
    after: Sequence[StepUse],
    outputs: Sequence[str] | None = None,
    place: Place | None = None,
) -> Plan:
    """Bind the steps of a pipeline one after another and follow the columns through them.

    *model_inputs* and *model_outputs* have the row axis first; None while the artefact has not been read, and then
    what depends on it is not checked. *place* is where the steps find files of their own. Every problem is in the
    plan; a plan with problems must not be run.
    """
    plan = Plan()
    flow = _Flow(plan, place or Place())
    for index, use in enumerate(before):
        plan.before += _bind(use, flow, "preprocessing", index)
    _through_model(flow, model_inputs, model_outputs, {*(outputs or ()), *_read_by(after)})
    known = model_outputs is not None
    kept = dict(flow.columns)
    for index, use in enumerate(after):
        plan.after += _bind(use, flow, "postprocessing", index, open_ended=not known)
    added = [name for name in flow.columns if name in (model_outputs or ()) or flow.columns[name] is not kept.get(name)]
    chosen = list(outputs) if outputs is not None else added
    for name in chosen:
        if name in flow.columns:
            plan.outputs[name] = flow.columns[name]
        elif known:
            found = f"no column {name!r}{nearest(name, list(flow.columns))}; there are: {', '.join(flow.columns)}"
            plan.problems.append(Misplaced("outputs", 0, Problem(name, found)))
    return plan


def _read_by(uses: Sequence[StepUse]) -> Iterator[str]:
    """The columns that steps read for certain; what one finds by itself is not among them."""
    for use in uses:
        yield from use.columns.values()
        if not (callable(use.kind.reads) or use.kind.flexible):
            yield from use.kind.reads


def _through_model(flow: _Flow, inputs: Specs | None, outputs: Specs | None, later: Collection[str]) -> None:
    wanted = inputs or {}
    missing = {name: spec for name, spec in wanted.items() if name not in flow.columns}
    for name, spec in wanted.items():
        if name not in missing and (why := misfit(spec, flow.columns[name])):
            problem = Problem(name, f"the model's input {name!r}: the column {why}")
            flow.plan.problems.append(Misplaced("model", 0, problem))
    if flow.plan.before:
        unread = sorted(column for column in flow.fresh if column not in wanted and column not in later)
        flow.plan.problems += _left_over(flow.columns, unread, missing)
    for name, spec in missing.items():
        flow.need(name, spec)
    flow.replace({**flow.columns, **(outputs or {})})


def _left_over(columns: Specs, unread: Sequence[str], missing: Specs) -> Iterator[Misplaced]:
    """What to say of columns that the steps write and nobody reads, where the model may have been meant to.

    What no step writes is an input of the pipeline, so a column of another name than the model's would change nothing.
    """
    fitting = {
        column: [name for name, spec in missing.items() if not spec.optional and misfit(spec, columns[column]) is None]
        for column in unread
    }
    claims = Counter(chain.from_iterable(fitting.values()))
    for column, names in fitting.items():
        if not names or any(claims[name] > 1 for name in names):
            continue
        found = f"the model wants {' and '.join(map(repr, names))} and the steps leave {column!r}"
        if len(names) == 1:
            found += f"; add the step tensors.rename with params {{{column}: {names[0]}}}"
        else:
            found += f", which nobody reads; say at its step which is meant (column: {names[0]}), or list it in outputs"
            found += nearest(column, names)
        yield Misplaced("model", 0, Problem(names[0], found))


def _bind(use: StepUse, flow: _Flow, part: str, index: int, *, open_ended: bool = False) -> list[Step]:
    """The step bound at this point of the flow, or nothing and the reasons in the plan."""
    problems: list[Problem] = []
    params, wrong = check(use.kind.signature, use.params)
    problems += wrong
    if use.kind.takes_place:
        params["place"] = flow.place
    step: Step | None = None
    if not problems:
        step = _bound(use, params, flow, part, problems, open_ended)
    flow.plan.problems += [Misplaced(part, index, problem) for problem in problems]
    return [step] if step is not None else []


def _bound(
    use: StepUse, params: Mapping[str, Any], flow: _Flow, part: str, problems: list[Problem], open_ended: bool
) -> Step | None:
    kind = use.kind
    reads = kind.reads(**params) if callable(kind.reads) else kind.reads
    columns = _renamed(use, params, reads, flow, problems, open_ended)
    if problems:
        return None  # which columns are meant is not clear: looking for them would only add guesses
    for declared, spec in reads.items():
        actual = columns.get(declared, declared)
        if actual in flow.columns:
            if why := misfit(spec.with_shape(None) if kind.any_shape else spec, flow.columns[actual]):
                problems.append(Problem(declared, f"step {use.name!r} reads {actual!r}, which {why}"))
        elif part == "postprocessing" and not open_ended:
            there = ", ".join(flow.columns)
            hint = nearest(actual, list(flow.columns))
            problems.append(
                Problem(
                    declared,
                    f"step {use.name!r} reads {actual!r}, which is not there{hint}; there are: {there}",
                )
            )
        elif actual in flow.ever:
            problems.append(Problem(declared, f"step {use.name!r} reads {actual!r}, which an earlier step dropped"))
        elif part == "preprocessing":
            flow.need(actual, spec)
    if problems:
        return None
    after = _following(kind, reads, columns, params, use.name, problems)
    flow_after = after(flow.columns)
    if problems:
        return None
    flow.replace(flow_after)
    named = {columns.get(name, name): spec for name, spec in reads.items()}
    run = runner(kind, use.name, params, columns)
    return Step(use.name, run, named, after, waits=kind.waits, pure=kind.pure)


def _renamed(
    use: StepUse, params: Mapping[str, Any], reads: Specs, flow: _Flow, problems: list[Problem], open_ended: bool
) -> dict[str, str]:
    """Which column of the pipeline stands for each that the step declares."""
    columns = dict(use.columns)
    if columns and use.kind.form == "batch":
        problems.append(Problem("columns", f"step {use.name!r} names its columns itself and cannot be given others"))
    if "*" in columns:
        chosen = columns.pop("*")
        if len(reads) == 1:
            columns[next(iter(reads))] = chosen
        else:
            problems.append(Problem("column", f"step {use.name!r} reads {', '.join(reads)}; use columns: {{...}}"))
    known = [*reads, *(use.kind.writes(**params) if callable(use.kind.writes) else use.kind.writes)]
    for name in columns:
        if name not in known:
            problems.append(
                Problem(
                    name,
                    f"step {use.name!r} has no column {name!r}{nearest(name, known)}; it has: {', '.join(known)}",
                )
            )
    if use.kind.flexible and not columns and not open_ended:  # what the model will write may be what it means
        columns.update(_found(use, reads, flow, problems))
    return columns


def _found(use: StepUse, reads: Specs, flow: _Flow, problems: list[Problem]) -> dict[str, str]:
    """The one column that a flexible step can mean: its own, else the only fitting one, the newest first."""
    declared, spec = next(iter(reads.items()))
    if declared in flow.columns or not flow.columns:
        return {}
    for among in (flow.fresh, set(flow.columns)):
        fitting = sorted(name for name in among if misfit(spec, flow.columns[name]) is None)
        if len(fitting) == 1:
            return {declared: fitting[0]}
        if fitting:
            problems.append(
                Problem(
                    "column",
                    f"step {use.name!r} could mean {' or '.join(fitting)}; say which with column: NAME",
                )
            )
            return {}
    return {}


def _following(
    kind: StepType,
    reads: Specs,
    columns: Mapping[str, str],
    params: Mapping[str, Any],
    name: str,
    problems: list[Problem],
) -> Callable[[Specs], dict[str, TensorSpec]]:
    """How the columns change: the declared writes, or what the type's own flow makes of what it reads."""
    writes = kind.writes(**params) if callable(kind.writes) else kind.writes

    def after(before: Specs) -> dict[str, TensorSpec]:
        written: Mapping[str, TensorSpec | None] = writes
        if kind.flow is not None:
            seen = {declared: before.get(columns.get(declared, declared), ANYTHING) for declared in reads}
            try:
                written = {**writes, **kind.flow(seen, **params)}
            except ValueError as error:
                problems.append(Problem("params", f"step {name!r} {error}"))
        result = dict(before)
        for declared, spec in written.items():
            actual = columns.get(declared, declared)
            result.pop(actual, None)
            if spec is not None:
                result[actual] = TensorSpec(spec.dtype, spec.shape, actual)
        return result

    return after
