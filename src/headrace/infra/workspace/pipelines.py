"""What is wrong with a declared pipeline: its model, its steps and columns, its numbers, its examples?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from headrace.core.config import did_you_mean
from headrace.domain.doctor import Diagnosis, diagnose
from headrace.domain.errors import EngineError, InvalidInput, NotFound
from headrace.domain.fit import Misplaced, StepUse
from headrace.domain.model_call import row_specs
from headrace.domain.spec import ModelSpec, ModelUse, PipelineSpec, StepSpec
from headrace.domain.step import Place, StepType
from headrace.domain.tensors import TensorSpec, to_column
from headrace.infra.step_lookup import StepLookup
from headrace.infra.workspace.artefacts import is_url
from headrace.infra.workspace.batching import check_batching
from headrace.infra.workspace.documents import Remarks
from headrace.infra.workspace.model_index import ModelIndex
from headrace.infra.workspace.models import NO_FILE, check_identity, specs_of
from headrace.infra.workspace.paths import exists, no_file
from headrace.infra.workspace.placing import check_placement

Part = Literal["preprocessing", "postprocessing"]


class PipelineCheck:
    """Looks at the pipelines of one workspace."""

    def __init__(self, root: Path, steps: StepLookup, models: ModelIndex, databases: Sequence[str]) -> None:
        self._root = root
        self._steps = steps
        self._models = models
        self._databases = databases

    def look(self, spec: PipelineSpec, remarks: Remarks) -> Mapping[str, TensorSpec] | None:
        """Say what is wrong with *spec*; returns the columns it takes, None while they cannot be told."""
        check_identity(spec, remarks)
        _numbers(spec, remarks)
        _unavailable(spec, remarks)
        self._database(spec, remarks)
        _repeated(spec, remarks)
        model = self._model(spec, remarks)
        inputs = self._fit(spec, model, remarks).inputs
        check_batching(spec, inputs, model, remarks)
        self._examples(spec, inputs, remarks)
        return inputs

    def _model(self, spec: PipelineSpec, remarks: Remarks) -> ModelSpec | None:
        if isinstance(spec.model, ModelSpec):
            return spec.model
        use = ModelUse(spec.model) if isinstance(spec.model, str) else spec.model
        if not use.name and not remarks.document.whole:
            return None  # missing, which has been said
        try:
            return self._models.find(use.name, use.version)
        except NotFound as error:
            if isinstance(spec.model, str):
                remarks.add(spec, "model", error.message)
            else:
                wrong = "name" if not self._models.versions(use.name) or use.version is None else "version"
                remarks.within("model").add(spec.model, wrong, error.message)
            return None

    def _fit(self, spec: PipelineSpec, model: ModelSpec | None, remarks: Remarks) -> Diagnosis:
        before = [self._use(step, remarks.within("preprocessing", i)) for i, step in enumerate(spec.preprocessing)]
        after = [self._use(step, remarks.within("postprocessing", i)) for i, step in enumerate(spec.postprocessing)]
        inputs, outputs = (specs_of(model.input_spec), specs_of(model.output_spec)) if model else (None, None)
        if not remarks.document.whole:
            # Steps may be missing among those that are left, so nothing certain can be said about columns.
            before, after = [None, *before], [None, *after]
        found = diagnose(
            before,
            None if inputs is None else row_specs(inputs, batched=spec.batched),
            None if outputs is None else row_specs(outputs, batched=spec.batched),
            after,
            spec.outputs,
            place_of(model, self._root),
        )
        check_placement(spec, model, [*before, *after], remarks)
        shift = 0 if remarks.document.whole else 1
        for misplaced in found.problems:
            uses = before if misplaced.part == "preprocessing" else after
            use = uses[misplaced.index] if misplaced.part.endswith("processing") else None
            report_misfit(spec, replace(misplaced, index=misplaced.index - shift), use, remarks)
        return found

    def _use(self, step: StepSpec, remarks: Remarks) -> StepUse | None:
        if step.source == "database":
            return None  # its name is only a label
        try:
            return step_use(step, self._steps.find(step.name))
        except EngineError as error:
            if not self._steps.hidden(step.name):
                remarks.add(step, "name", error.message)
            return None

    def _database(self, spec: PipelineSpec, remarks: Remarks) -> None:
        uses = [(spec, spec.database, remarks)] if isinstance(spec.database, str) else []
        for part in ("preprocessing", "postprocessing"):
            for index, step in enumerate(getattr(spec, part)):
                if step.database is not None:
                    uses.append((step, step.database, remarks.within(part, index)))
        for owner, name, here in uses:
            if name not in self._databases:
                meant = did_you_mean(name, self._databases)
                here.add(owner, "database", f"found no database {name!r}{meant} under config/databases")

    def _examples(self, spec: PipelineSpec, inputs: Mapping[str, TensorSpec] | None, remarks: Remarks) -> None:
        for index, example in enumerate(spec.examples):
            here = remarks.within("examples", index)
            for name, value in example.items():
                self._value(example, name, value, inputs, here)
            missing = [name for name, wanted in (inputs or {}).items() if name not in example and not wanted.optional]
            if missing:
                here.add(example, None, f"found no {', '.join(map(repr, missing))}, which the pipeline takes")

    def _value(
        self, example: Mapping[str, Any], name: str, value: Any, inputs: Mapping[str, TensorSpec] | None, here: Remarks
    ) -> None:
        if inputs is not None and name not in inputs:
            there = f"{did_you_mean(name, inputs)}, wanted: {', '.join(inputs) or 'nothing'}"
            here.add(example, name, f"found an input that the pipeline does not take{there}")
        elif isinstance(value, Mapping) and set(value) == {"file"}:
            path = str(value["file"])
            if not exists(self._root / path) or not (self._root / path).is_file():
                here.within(name).add(value, "file", no_file(self._root, path))
        elif inputs is not None and (inputs[name].numeric or inputs[name].dtype == "string"):
            try:
                to_column([value], inputs[name])
            except InvalidInput as error:
                here.add(example, name, error.message)


def place_of(model: ModelSpec | None, root: Path) -> Place:
    """Where the steps of a pipeline over *model* find files."""
    if model is None or not model.path or model.type in (*NO_FILE, "python") or is_url(model.path):
        return Place(root)
    path = root / model.path
    return Place(root, path if path.is_dir() else path.parent)


def step_use(step: StepSpec, kind: StepType) -> StepUse:
    """A step's entry with its name looked up; ``column:`` stands for the one column that the step reads."""
    columns = {"*": step.column, **step.columns} if step.column is not None else dict(step.columns)
    return StepUse(step.name, kind, step.params, columns)


def report_misfit(spec: PipelineSpec, misplaced: Misplaced, use: StepUse | None, remarks: Remarks) -> None:
    """Say at its line what does not fit; *use* is the step that it is about, if it is about one."""
    key, message = misplaced.problem.key, misplaced.problem.message
    if use is not None:
        step: StepSpec = getattr(spec, misplaced.part)[misplaced.index]
        _report_in_step(step, use, key, message, remarks.within(misplaced.part, misplaced.index))
    elif misplaced.part == "outputs" and spec.outputs and key in spec.outputs:
        remarks.within("outputs").add(spec.outputs, spec.outputs.index(key), message)
    else:
        remarks.add(spec, misplaced.part, message)


def _report_in_step(step: StepSpec, use: StepUse, key: str, message: str, remarks: Remarks) -> None:
    if key in step.params:
        remarks.within("params").add(step.params, key, message)
    elif key in step.columns:
        remarks.within("columns").add(step.columns, key, message)
    elif key in use.kind.signature.parameters:
        remarks.within("params").at(remarks.reader.place(step, "params"), key, message)
    elif key in ("params", "column", "columns"):
        remarks.add(step, key, message)
    else:
        remarks.add(step, None, message)


def _numbers(spec: PipelineSpec, remarks: Remarks) -> None:
    if not spec.timeout_s > 0:
        remarks.add(spec, "timeout_s", f"found {spec.timeout_s:g}, wanted a number above 0")
    if spec.cache is not None and not spec.cache.ttl_s > 0:
        remarks.within("cache").add(spec.cache, "ttl_s", f"found {spec.cache.ttl_s:g}, wanted a number above 0")


def _unavailable(spec: PipelineSpec, remarks: Remarks) -> None:
    """Steps that read a database: the configuration is understood, but nothing here serves it yet."""
    for part in ("preprocessing", "postprocessing"):
        for index, step in enumerate(getattr(spec, part)):
            if step.source is not None:
                found = f"source: {step.source} is not available in this version"
                remarks.within(part, index).add(step, "source", found)


def _repeated(spec: PipelineSpec, remarks: Remarks) -> None:
    for index, name in enumerate(spec.outputs or ()):
        if name in (spec.outputs or ())[:index]:
            remarks.within("outputs").add(spec.outputs, index, f"found the column {name!r} again")
