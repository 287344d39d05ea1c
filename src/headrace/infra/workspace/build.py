"""How does a declared pipeline become a loaded one? Checks the artefact, loads the model, binds the steps."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from headrace.core.config import Mistake
from headrace.domain.doctor import diagnose
from headrace.domain.errors import EngineError, InvalidConfig, ModelFailure, NotFound
from headrace.domain.fit import Plan, StepUse, compose
from headrace.domain.model import Model
from headrace.domain.model_call import row_specs
from headrace.domain.pipeline import Pipeline
from headrace.domain.spec import ModelSpec, ModelUse, PipelineSpec, StepSpec
from headrace.domain.step import Place
from headrace.infra.isolation.model import load_isolated, processes_of
from headrace.infra.runtimes import load_model
from headrace.infra.runtimes.workspace_code import source_file
from headrace.infra.step_lookup import StepLookup
from headrace.infra.workspace.artefacts import Digests
from headrace.infra.workspace.model_pool import Held, ModelPool, close
from headrace.infra.workspace.models import NO_FILE
from headrace.infra.workspace.pipelines import place_of, report_misfit, step_use
from headrace.infra.workspace.placing import cannot_wait
from headrace.infra.workspace.survey import Survey, spec_ref


def invalid(mistakes: Sequence[Mistake]) -> InvalidConfig:
    """The error that carries *mistakes*: one a line in its message, and as data in its details."""
    listed = [
        {"file": str(mistake.file), "line": mistake.line, "key": mistake.key, "message": mistake.message}
        for mistake in mistakes
    ]
    return InvalidConfig("\n".join(map(str, mistakes)), details={"mistakes": listed})


@dataclass(frozen=True, slots=True)
class _Artefact:
    """Where a model lies (None: it is no file) and what its bytes are."""

    path: Path | None
    digest: str


class Builder:
    """Builds the pipelines of one workspace. May be used from several threads."""

    def __init__(self, root: Path, steps: StepLookup) -> None:
        self._root = root
        self._steps = steps
        self._digests = Digests()
        self.pool = ModelPool()

    def build(self, spec: PipelineSpec, survey: Survey) -> Pipeline:
        """The loaded pipeline that *spec* declares, in the workspace as *survey* found it.

        Raises InvalidConfig, with the line where it can be told, NotFound or ModelFailure.
        """
        model = _model_of(spec, survey)
        try:
            artefact = self._artefact(model, survey)
        except OSError as error:
            found = f"found a file that cannot be read: {error.strerror or error}"
            raise _at_model(model, "path", found, survey) from error
        before, after = ([self._use(step) for step in part] for part in (spec.preprocessing, spec.postprocessing))
        held = self._held(model, artefact, survey, batched=spec.batched)
        try:
            place = place_of(model, self._root)
            plan = _plan(spec, held.model, before, after, place, survey)
            pipeline = Pipeline(
                spec,
                plan,
                held.model,
                model_name=model.name,
                model_version=model.version,
                digest=self._digest(spec, model, artefact, [*before, *after], place),
                instances=processes_of(asdict(model)) if model.isolation == "process" else model.instances,
                release=held.release,
            )
            _require_placeable(pipeline, survey)
            return pipeline
        except BaseException:
            held.release()
            raise

    def _artefact(self, model: ModelSpec, survey: Survey) -> _Artefact:
        if model.type in NO_FILE:
            return _Artefact(None, "")
        if model.type == "python":
            file = source_file(model.path, self._root)
            return _Artefact(None, "" if file is None else self._digests.artefact(file))
        path = self._root / model.path
        if not model.path or not path.exists():
            raise NotFound(f"model {model.name!r} has no file {model.path!r}")
        if model.sha256 is not None and (found := self._digests.artefact(path)) != model.sha256.lower():
            message = f"found another file: {model.path} has the SHA-256 {found}"
            raise _at_model(model, "sha256", message, survey)
        return _Artefact(path, self._digests.with_neighbours(path))

    def _is_still(self, artefact: _Artefact, model: ModelSpec, survey: Survey) -> bool:
        """Whether *model* would be loaded from the same bytes now."""
        try:
            return self._artefact(model, survey) == artefact
        except (EngineError, OSError):
            return False

    def _use(self, step: StepSpec) -> StepUse:
        return step_use(step, self._steps.find(step.name))

    def _held(self, model: ModelSpec, artefact: _Artefact, survey: Survey, *, batched: bool) -> Held:
        config = {**asdict(model), "root": str(self._root), "batched": batched}

        def load() -> Model:
            try:
                where = model.path if artefact.path is None else str(artefact.path)
                if model.isolation == "process":
                    return load_isolated(model.type, where, config, lambda: self._is_still(artefact, model, survey))
                return load_model(model.type, where, config)
            except InvalidConfig as error:
                raise _at_model(model, _key_in(error.message), error.message, survey) from error
            except EngineError:
                raise
            except Exception as error:  # a framework's own way to refuse a file
                said = f"model {model.name!r} cannot be loaded: {type(error).__name__}: {str(error)[:500]}"
                raise ModelFailure(said) from error

        if artefact.path is None:  # code: the same bytes may behave differently, as it imports what it likes
            loaded = load()
            return Held(loaded, lambda: close(loaded))
        return self.pool.take(_hash(config, artefact.digest), load)

    def _digest(
        self, spec: PipelineSpec, model: ModelSpec, artefact: _Artefact, uses: Sequence[StepUse], place: Place
    ) -> str:
        sources = {file for use in uses for file in self._steps.source(use.kind.function)}
        sources |= {file for use in uses if use.kind.takes_place for file in _read_by(use, place)}
        files = self._digests.files(sorted(file for file in sources if file.is_file()))
        settled = replace(spec, model=ModelUse(model.name, model.version))
        return _hash(asdict(settled), asdict(model), artefact.digest, files, _version())


def _model_of(spec: PipelineSpec, survey: Survey) -> ModelSpec:
    if isinstance(spec.model, ModelSpec):
        return spec.model
    use = ModelUse(spec.model) if isinstance(spec.model, str) else spec.model
    models = survey.declared.models
    found = [model for (name, version), model in models.items() if name == use.name and use.version in (None, version)]
    if len(found) != 1:
        declared = ", ".join(f"{name} {version}" for name, version in models) or "none"
        raise NotFound(f"pipeline {spec_ref(spec)} wants model {use.name!r} {use.version or ''}; declared: {declared}")
    return found[0]


def _read_by(use: StepUse, place: Place) -> list[Path]:
    """The files that a step may read: those that its parameters name, and the tokenizer beside the model."""
    named = [place.root / value for value in use.params.values() if isinstance(value, str) and value]
    return named if place.model_folder is None else [*named, place.model_folder / "tokenizer.json"]


def _plan(
    spec: PipelineSpec,
    model: Model,
    before: Sequence[StepUse],
    after: Sequence[StepUse],
    place: Place,
    survey: Survey,
) -> Plan:
    inputs, outputs = (
        row_specs(columns, batched=spec.batched) for columns in (model.get_input_spec(), model.get_output_spec())
    )
    problems = diagnose(before, inputs, outputs, after, spec.outputs, place).problems
    if not problems:
        return compose(before, inputs, outputs, after, spec.outputs, place)
    origin = survey.origins.get(spec_ref(spec))
    known = survey.declared.pipelines.get(spec_ref(spec))
    if origin is None or known != spec:
        raise InvalidConfig("; ".join(f"{found.part}: {found.problem.message}" for found in problems))
    remarks, mistakes = origin.apart()
    for found in problems:
        uses = {"preprocessing": before, "postprocessing": after}.get(found.part)
        report_misfit(known, found, uses[found.index] if uses else None, remarks)
    raise invalid(mistakes)


def _require_placeable(pipeline: Pipeline, survey: Survey) -> None:
    """Only a model that is loaded tells whether its code waits. Raises InvalidConfig for one that does on the loop."""
    spec = pipeline.spec
    if spec.placement != "inline" or pipeline.synchronous:
        return
    why = cannot_wait(f"model {pipeline.model_name!r}" if pipeline.remote else "a step")
    origin = survey.origins.get(spec_ref(spec))
    known = survey.declared.pipelines.get(spec_ref(spec))
    if origin is None or known != spec:
        raise InvalidConfig(f"placement: {why}")
    remarks, mistakes = origin.apart()
    remarks.add(known, "placement", why)
    raise invalid(mistakes)


def _key_in(message: str) -> str:
    """Which key of a model's file a runtime complains about."""
    keys = ("options", "input_spec", "output_spec", "device", "threads", "isolation")
    return next((key for key in keys if re.search(rf"\b{key}\b", message)), "path")


def _at_model(model: ModelSpec, key: str, message: str, survey: Survey) -> InvalidConfig:
    origin = survey.model_origins.get((model.name, model.version))
    if origin is None:
        return InvalidConfig(f"model {model.name!r}: {key}: {message}")
    remarks, mistakes = origin.apart()
    remarks.add(model, key, message)
    return invalid(mistakes)


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:  # run from its source, without having been installed
        return ""


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()
